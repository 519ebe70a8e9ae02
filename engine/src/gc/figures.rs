//! What a collection would do, in figures that a person can weigh: bytes, packs, requests, and what a store charges for early deletion.

/// What a store charges for objects of one class that go before their time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Charge {
    /// The storage class.
    pub class: String,
    /// Days for which the store charges an object at least.
    pub days: u32,
    /// Packs that would go before.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes times days that are paid for nothing.
    pub byte_days: u128,
}

/// Days for which stores charge at least, by class (AWS, 2026).
pub fn least_days(class: &str) -> u32 {
    match class {
        "STANDARD_IA" | "ONEZONE_IA" => 30,
        "GLACIER_IR" | "GLACIER" => 90,
        "DEEP_ARCHIVE" => 180,
        _ => 0,
    }
}

/// Whether reading objects of this class costs extra or takes hours.
pub fn is_cold(class: &str) -> bool {
    least_days(class) > 0
}

/// The figures of a plan. Sizes in bytes as stored.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Figures {
    /// Snapshots that are kept whole.
    pub snapshots: u64,
    /// Manifests of runs that have not ended, kept too.
    pub pendings: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Chunks in them, copies included.
    pub chunks: u64,
    /// Chunks that are needed.
    pub chunks_needed: u64,
    /// Packs of which nothing is needed.
    pub drop_packs: u64,
    /// Their bytes.
    pub drop_bytes: u64,
    /// Packs whose needed chunks are taken out: partly unused ones, and small ones that are gathered.
    pub repack_packs: u64,
    /// Their bytes.
    pub repack_bytes: u64,
    /// Of those, small ones that are only gathered.
    pub gather_packs: u64,
    /// What is to be read for that.
    pub read_bytes: u64,
    /// What will be written: exact for frames that are copied, a fair share of those that are made anew, or what these weigh, padding
    /// included, where the options ask for it.
    pub write_bytes: u64,
    /// Unused bytes that are left where they are: below `max_unused`, or beyond `max_repack`.
    pub unused_bytes: u64,
    /// Unused bytes in frames that this keyring cannot open.
    pub stuck_bytes: u64,
    /// Packs with unused bytes that are too young to be touched.
    pub young_packs: u64,
    /// Their bytes.
    pub young_bytes: u64,
    /// Packs with unused bytes in colder storage classes that are left alone.
    pub cold_packs: u64,
    /// Their bytes.
    pub cold_bytes: u64,
    /// Packs under older epochs whose needed chunks are sealed anew; they are among those that are repacked.
    pub renew_packs: u64,
    /// What is read of them.
    pub renew_bytes: u64,
    /// Packs under older epochs that stay for now: beyond the budget, too young, needed or not, or in colder storage.
    pub renew_left_packs: u64,
    /// How many of them are younger than the grace period,
    pub renew_left_young_packs: u64,
    /// and how many of the others in colder storage.
    pub renew_left_cold_packs: u64,
    /// Their bytes.
    pub renew_left_bytes: u64,
    /// Packs that earlier collections condemned, whose time has come.
    pub due_packs: u64,
    /// Their bytes.
    pub due_bytes: u64,
    /// Packs that earlier collections condemned and that stay until their time comes.
    pub waiting_packs: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Manifests of forgotten snapshots that go.
    pub manifests: u64,
    /// Pending manifests that go.
    pub pendings_spent: u64,
    /// Packs without a segment whose footers do not open.
    pub unreadable_packs: u64,
    /// Requests that all this takes, about.
    pub requests: u64,
    /// What the store charges for early deletion.
    pub charges: Vec<Charge>,
}

impl Figures {
    /// Bytes that go, less those that come: what the plan frees once everything condemned is deleted.
    pub fn freed_bytes(&self) -> i128 {
        i128::from(self.drop_bytes) + i128::from(self.repack_bytes) + i128::from(self.due_bytes) - i128::from(self.write_bytes)
    }
}
