//! What is said of slots, and how one is named. It must never take a slot for another: a label names one only where it is the only one of it.

use crate::exit::{Code, Fail};
use crate::open::warn_disputed;
use crate::output::{Output, clean};
use crate::size;
use seabed_engine::id::ObjectId;
use seabed_engine::keys::{Rotated, SlotInfo, SlotKind, SlotObject};

/// The first digits of a slot's id.
pub fn short(id: &ObjectId) -> String {
    id.short()
}

/// A slot as a sentence names it.
pub fn words(slot: &SlotInfo) -> String {
    if slot.label.is_empty() { short(&slot.id) } else { format!("{} ({})", short(&slot.id), clean(&slot.label)) }
}

/// What opens it.
pub fn kind(slot: &SlotInfo) -> &'static str {
    match slot.kind {
        Some(SlotKind::Passphrase(..)) => "passphrase",
        Some(SlotKind::KeyFile) => "key file",
        _ => "unknown",
    }
}

/// What is to be known of it besides: nothing of most.
pub fn remark(slot: &SlotInfo) -> &'static str {
    match (slot.member, slot.object) {
        (false, _) => "opens nothing: in no keyring",
        (_, SlotObject::Missing) => "lost: its secret opens nothing",
        (_, SlotObject::Damaged) => "damaged: its secret opens nothing",
        (_, SlotObject::Swapped) => "not the one that was added",
        (_, SlotObject::Whole) if slot.own => "in use",
        _ => "",
    }
}

/// The slot that is called so: by its whole label, or by the beginning of its id.
pub fn find<'a>(slots: &'a [SlotInfo], name: &str) -> Result<&'a SlotInfo, Fail> {
    let id = name.to_ascii_lowercase();
    let labelled: Vec<&SlotInfo> = slots.iter().filter(|slot| !name.is_empty() && slot.label == name).collect();
    let found = match labelled.is_empty() {
        false => labelled,
        true => slots.iter().filter(|slot| !id.is_empty() && slot.id.to_string().starts_with(&id)).collect(),
    };
    match found[..] {
        [one] => Ok(one),
        [] => Err(Fail::new(Code::Failed, format!("no slot is called `{name}`")).hint("`seabed key list` lists them")),
        _ => Err(Fail::new(Code::Failed, format!("{} are called `{name}`", size::of(found.len() as u64, "slot")))
            .hint("give more digits of the id: `seabed key list` shows it")),
    }
}

/// What the store did not let go, and the code that this ends with.
pub fn leftovers(rotated: &Rotated, out: &Output) -> Code {
    warn_disputed(rotated, out);
    for error in &rotated.refused {
        out.warn(&format!("left where it is: {error}; it opens what was written before, no more"));
    }
    if rotated.refused.is_empty() { Code::Done } else { Code::Incomplete }
}
