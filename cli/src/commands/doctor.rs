//! `doctor`: what a store can do, and what about it endangers a repository: one line and one remedy for each finding.
//! It must never change anything but an object of its own, which it removes. It obeys DESIGN section 7.

use crate::args::Global;
use crate::commands::findings::{Finding, Level, failures, finding, rows, tell};
use crate::exit::{Code, Fail, Run, help};
use crate::open::{self, Kind};
use crate::output::Output;
use crate::{remote, size};
use seabed_engine::error::Error;
use seabed_engine::id::ObjectName;
use seabed_engine::repository::{OpenOptions, Repository};
use seabed_engine::store::Store;
use seabed_engine::store::s3::{BucketFacts, Capabilities, ClassFound, Fact, Listing, S3Store, Treatment};
use serde_json::json;
use std::sync::Arc;

/// Look for what endangers a repository where it is kept
///
/// For a bucket: what the store can do, found out by trying, and rules of the bucket that would delete,
/// freeze or keep too much; with --storage-class whether the store keeps it. Exit status 1 if something
/// would lose data or end backups: with --quiet only that is said.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed doctor --repo s3://bucket/backups"))]
pub struct Args {}

/// Looks.
pub fn run(global: &Global, _args: &Args, out: &Output) -> Run {
    let place = open::place(global)?;
    let findings = match &place.kind {
        Kind::Directory(_) => {
            // What there is to know of a directory is whether a repository opens in it.
            open::open(global, out)?;
            vec![finding(Level::Fine, format!("the repository at {} opens", place.words()), None)]
        }
        Kind::S3(s3) => {
            let store = Arc::new(remote::store(global, out, s3.clone())?);
            let metered: Arc<dyn Store> = store.clone();
            out.meter(&metered);
            bucket(&store, &metered)?
        }
    };
    let failures = failures(&findings);
    if out.json {
        let findings = rows(&findings);
        out.json_result(&json!({"message_type": "summary", "repository": place.text(), "findings": findings, "failures": failures}))?;
    } else {
        out.say(&place.words());
        tell(&findings, out);
    }
    if failures == 0 {
        return Ok(Code::Done);
    }
    Err(Fail::new(Code::Failed, format!("{} would lose data or end backups", size::of(failures, "finding")))
        .hint("what to do stands below each of them"))
}

fn bucket(store: &S3Store, whole: &Arc<dyn Store>) -> Result<Vec<Finding>, Fail> {
    let mut findings = capabilities(&store.probe()?);
    findings.extend(facts(&store.bucket_facts()?));
    findings.push(repository(whole)?);
    Ok(findings)
}

/// Whether a repository is there, as far as that can be told without a key.
fn repository(store: &Arc<dyn Store>) -> Result<Finding, Fail> {
    let here = || finding(Level::Fine, "a repository is here", None);
    if store.size(&ObjectName::descriptor())?.is_some() {
        return Ok(here());
    }
    // What else is there tells a new place from a repository that nobody can open any more.
    Ok(match Repository::find(store.clone(), &OpenOptions::default()) {
        Ok(_) => here(),
        Err(Error::NoRepository { .. }) => finding(Level::Note, "no repository is here yet", Some("make it with `seabed init`")),
        Err(error @ (Error::DescriptorLost { .. } | Error::Damaged { .. })) => {
            let fail = Fail::from(error);
            finding(Level::Failure, fail.message, fail.hint.as_deref())
        }
        Err(error) => return Err(error.into()),
    })
}

fn capabilities(found: &Capabilities) -> Vec<Finding> {
    let mut findings = vec![match &found.left {
        None => finding(Level::Fine, "objects can be written, read and deleted", None),
        Some(left) => finding(
            Level::Note,
            format!("objects can be written and read, not deleted: what is below {left}/ (a few bytes) stays"),
            Some("as it should be for the key of a host that only makes backups"),
        ),
    }];
    findings.push(match (found.listing, found.listing.flaw()) {
        (_, Some(flaw)) => finding(
            Level::Failure,
            format!("listings cannot be trusted: {flaw}"),
            Some("this store promises less than S3: backups of others may be overlooked; use another one"),
        ),
        (Listing::LargerPages, _) => {
            finding(Level::Fine, "what was written is listed at once and in order, in pages larger than was asked for", None)
        }
        _ => finding(Level::Fine, "what was written is listed at once, in order, page by page", None),
    });
    findings.push(match found.signed_body {
        Treatment::Honoured => finding(Level::Fine, "a body that was damaged on the way is refused", None),
        _ => finding(Level::Note, "a body that was damaged on the way is taken", Some("`seabed check --read-data` finds it; use https://")),
    });
    findings.push(finding(Level::Fine, format!("checksums (x-amz-checksum-sha256) are {}", found.checksum.word()), None));
    findings.push(finding(
        Level::Fine,
        format!("conditional writes (If-None-Match) are {}; nothing depends on them", found.conditional_put.word()),
        None,
    ));
    findings.extend(found.storage_class.as_ref().map(|(class, became)| match became {
        ClassFound::Kept => finding(Level::Fine, format!("the storage class {class} is kept"), None),
        ClassFound::Other(other) => finding(
            Level::Note,
            format!("the storage class {class} is ignored: what is put lies in {other}"),
            Some("leave --storage-class out: it changes nothing here"),
        ),
        ClassFound::Refused(why) => finding(
            Level::Failure,
            format!("the storage class {class} is refused: {why}"),
            Some("correct --storage-class, or leave it out: no backup could store anything; where the class is right, look at the keys"),
        ),
    }));
    findings.push(match found.clock_ahead_seconds {
        None => finding(Level::Note, "the store tells no time", Some("collection will go by this machine's clock")),
        Some(ahead) if ahead.abs() > 300 => finding(
            Level::Note,
            format!("this machine's clock and the store's differ by {} minutes", ahead.abs() / 60),
            Some("set the clock (NTP): times of snapshots come from it"),
        ),
        Some(_) => finding(Level::Fine, "the clocks agree", None),
    });
    findings
}

/// Classes from which an object is read at once, as before, only at another price.
const READABLE: [&str; 4] = ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"];

fn facts(facts: &BucketFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &facts.threats {
        Fact::Known(threats) if threats.is_empty() => findings.push(finding(Level::Fine, "no lifecycle rule touches the repository", None)),
        Fact::Known(threats) => findings.extend(threats.iter().map(|threat| match &threat.moves_to {
            Some(class) if !threat.expires && READABLE.contains(&class.as_str()) => finding(
                Level::Note,
                format!("lifecycle rule `{}` moves the repository's objects to {class}: every read there costs", threat.rule),
                Some("for cheap storage of data packs alone use --storage-class: all else is read at every run"),
            ),
            Some(class) if !threat.expires => finding(
                Level::Failure,
                format!("lifecycle rule `{}` moves the repository's objects to {class}", threat.rule),
                Some("limit the rule to other prefixes; for cheap storage of data packs alone use --storage-class"),
            ),
            _ => finding(
                Level::Failure,
                format!("lifecycle rule `{}` deletes the repository's objects", threat.rule),
                Some("remove the rule or limit it to other prefixes: packs are needed as long as any snapshot is"),
            ),
        })),
        Fact::Unknown(why) => findings.push(finding(
            Level::Note,
            format!("lifecycle rules cannot be read: {why}"),
            Some("allow s3:GetLifecycleConfiguration, or look yourself that none deletes or moves objects"),
        )),
    }
    findings.push(match (&facts.versioning, &facts.clears_versions) {
        (Fact::Known(false), _) => finding(Level::Fine, "the bucket keeps no old versions", None),
        (Fact::Known(true), Fact::Known(true)) => finding(Level::Fine, "the bucket keeps old versions for a time", None),
        (Fact::Known(true), _) => finding(
            Level::Note,
            "the bucket keeps every deleted object as an old version, for ever",
            Some("add a lifecycle rule that expires noncurrent versions (only those) after some weeks"),
        ),
        (Fact::Unknown(why), _) => finding(
            Level::Note,
            format!("versioning cannot be read: {why}"),
            Some("allow s3:GetBucketVersioning, or look yourself whether deleted objects are kept, and paid for, for ever"),
        ),
    });
    findings.push(match &facts.object_lock {
        Fact::Known(true) => finding(Level::Fine, "the bucket can lock objects", None),
        Fact::Known(false) => finding(Level::Fine, "the bucket locks no objects", None),
        Fact::Unknown(why) => finding(
            Level::Note,
            format!("object lock cannot be read: {why}"),
            Some("allow s3:GetBucketObjectLockConfiguration, or look yourself: what is locked cannot be deleted before its time"),
        ),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::store::s3::Threat;

    fn facts_with(threat: Threat) -> Vec<Finding> {
        facts(&BucketFacts {
            threats: Fact::Known(vec![threat]),
            versioning: Fact::Known(true),
            clears_versions: Fact::Known(false),
            object_lock: Fact::Unknown("403".into()),
        })
    }

    #[test]
    fn what_ends_backups_or_loses_them_is_a_failure() {
        let level = |listing: Listing, became: Option<ClassFound>| {
            let found = Capabilities {
                conditional_put: Treatment::Ignored,
                checksum: Treatment::Refused,
                signed_body: Treatment::Honoured,
                listing,
                storage_class: became.map(|became| ("GLACIER".to_owned(), became)),
                deletes: true,
                left: None,
                clock_ahead_seconds: Some(0),
            };
            let worst = capabilities(&found).into_iter().find(|found| found.level != Level::Fine);
            worst.map(|found| (found.level.word(), found.remedy.is_some()))
        };
        assert_eq!(level(Listing::InPages, Some(ClassFound::Kept)), None);
        assert_eq!(level(Listing::LargerPages, None), None);
        assert_eq!(level(Listing::InPages, Some(ClassFound::Other("STANDARD".into()))), Some(("note", true)));
        assert_eq!(level(Listing::InPages, Some(ClassFound::Refused("no".into()))), Some(("FAIL", true)));
        assert_eq!(level(Listing::Late, None), Some(("FAIL", true)));
        assert_eq!(level(Listing::Wrong("it ends"), None), Some(("FAIL", true)));
    }

    /// What could not be read was said without a word about what to do.
    #[test]
    fn what_cannot_be_read_has_a_remedy() {
        let why = || "403".to_owned();
        let unknown = BucketFacts {
            threats: Fact::Unknown(why()),
            versioning: Fact::Unknown(why()),
            clears_versions: Fact::Unknown(why()),
            object_lock: Fact::Unknown(why()),
        };
        assert!(facts(&unknown).iter().all(|found| found.level == Level::Note && found.remedy.is_some()));
    }

    /// A rule that only makes reading dearer was called a loss of data, with exit status 1.
    #[test]
    fn a_rule_that_makes_reading_dearer_is_a_note() {
        for class in READABLE {
            let found = facts_with(Threat { rule: "r".into(), expires: false, moves_to: Some(class.to_owned()) });
            assert!(found[0].level == Level::Note && found[0].text.contains(class));
        }
        for class in ["GLACIER", "DEEP_ARCHIVE", "SOME_NEW_ONE"] {
            let found = facts_with(Threat { rule: "r".into(), expires: false, moves_to: Some(class.to_owned()) });
            assert!(found[0].level == Level::Failure && found[0].text.contains(class));
        }
        let both = facts_with(Threat { rule: "r".into(), expires: true, moves_to: Some("STANDARD_IA".into()) });
        assert!(both[0].level == Level::Failure && both[0].text.contains("deletes"));
    }

    #[test]
    fn a_rule_that_deletes_or_freezes_is_a_failure() {
        let threat = |expires, moves_to: Option<&str>| Threat { rule: "r".into(), expires, moves_to: moves_to.map(str::to_owned) };
        for (threat, word) in [(threat(true, None), "deletes"), (threat(false, Some("GLACIER")), "GLACIER")] {
            let found = facts_with(threat);
            assert!(found[0].level == Level::Failure && found[0].text.contains(word));
            assert!(found[1].level == Level::Note && found[1].remedy.is_some());
        }
    }
}
