//! The ledger, held against what is listed: what was taken away is a finding, with the snapshot that it hurts.

use crate::check::findings::Findings;
use crate::check::structure::Structure;
use crate::repository::ledger::{Ledger, Watermark};

/// Compares everything that vouches with everything that is there. Returns whether the repository looks as if it had been rolled back.
pub fn check(structure: &Structure, watermark: &Watermark, findings: &Findings) -> bool {
    let Structure { ledger, listed, forgotten, ledger_is_torn, .. } = structure;
    let ledger = Ledger { rows: ledger, listed, forgotten, is_torn: *ledger_is_torn };
    for (error, snapshot) in ledger.gaps(watermark) {
        let at = findings.add(error);
        if let Some(snapshot) = snapshot {
            findings.hurts(at, snapshot);
        }
    }
    ledger.is_rolled_back(watermark)
}
