//! The ledger, held against what is listed: what was taken away is a finding, with the snapshot that it hurts.

use crate::check::findings::Findings;
use crate::check::structure::Structure;
use crate::repository::ledger::{Ledger, Watermark};

/// Compares everything that vouches with everything that is there.
pub fn check(structure: &Structure, watermark: &Watermark, findings: &Findings) {
    let Structure { ledger, listed, forgotten, ledger_is_torn, .. } = structure;
    for (error, snapshot) in (Ledger { rows: ledger, listed, forgotten, is_torn: *ledger_is_torn }).gaps(watermark) {
        let at = findings.add(error);
        if let Some(snapshot) = snapshot {
            findings.hurts(at, snapshot);
        }
    }
}
