//! What rules mean for who backs a bucket up: can an object go before a run has seen it, and which are about to. Pure: rules, times and
//! objects in, risks out. In doubt it warns: a rule by tags may match any object, and a day is no longer than 24 hours.

use super::gap::Gap;
use crate::exit::Fail;
use crate::{size, time};
use seabed_engine::Time;
use seabed_engine::source::Excludes;
use seabed_engine::source::objects::Object;
use seabed_engine::store::s3::{Moment, Rule};
use std::time::Duration;

/// Storage classes out of which nothing is read at once: a backup leaves such objects out.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];
const DAY: u64 = 86_400;

/// So many objects, and one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first key.
    pub first: String,
}

/// Why something may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Risk {
    /// A rule deletes sooner than runs follow each other.
    DeletesBetween(Duration),
    /// A rule archives sooner than that.
    ArchivesBetween(Duration),
    /// These are in no snapshot, and are deleted before the next run.
    Deletes(Objects),
    /// These are in no snapshot, and are archived before the next run, or are by now.
    Archives(Objects),
    /// These are in no snapshot, a rule deletes them some day, and nobody knows whether a run comes before.
    Unsaved(Objects),
}

impl Risk {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Risk::DeletesBetween(_) => "deletes_between_runs",
            Risk::ArchivesBetween(_) => "archives_between_runs",
            Risk::Deletes(_) => "deletes_unsaved",
            Risk::Archives(_) => "archives_unsaved",
            Risk::Unsaved(_) => "unsaved",
        }
    }

    /// The objects, where it is about some.
    pub fn objects(&self) -> Option<&Objects> {
        match self {
            Risk::DeletesBetween(_) | Risk::ArchivesBetween(_) => None,
            Risk::Deletes(objects) | Risk::Archives(objects) | Risk::Unsaved(objects) => Some(objects),
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        let these = |objects: &Objects| {
            let (verb, count) = (if objects.objects == 1 { "is" } else { "are" }, size::of(objects.objects, "object"));
            format!("{count} ({}) {verb} in no snapshot", size::human(objects.bytes))
        };
        match self {
            Risk::DeletesBetween(gap) => {
                format!("what is put right after a run is deleted before the next one, up to {} later", time::clock(*gap))
            }
            Risk::ArchivesBetween(gap) => {
                format!(
                    "what is put right after a run is archived before the next one, up to {} later, and never backed up",
                    time::clock(*gap)
                )
            }
            Risk::Deletes(objects) => format!("{}, and deleted before the next run, first {}", these(objects), objects.first),
            Risk::Archives(objects) => format!("{}, and archived before the next run, first {}", these(objects), objects.first),
            Risk::Unsaved(objects) => format!("{}, and deleted some day, first {}", these(objects), objects.first),
        }
    }
}

/// A rule, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The rule.
    pub rule: Rule,
    /// What may be lost by it.
    pub risks: Vec<Risk>,
}

/// What a source takes of its bucket.
pub struct Chosen {
    include: Option<Excludes>,
    exclude: Excludes,
}

impl Chosen {
    /// As its patterns say.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, Fail> {
        let set = |texts: &[String]| {
            let mut set = Excludes::new();
            texts.iter().try_for_each(|text| set.pattern(text.as_bytes(), false))?;
            Ok::<_, Fail>(set)
        };
        Ok(Chosen { include: if include.is_empty() { None } else { Some(set(include)?) }, exclude: set(exclude)? })
    }

    /// Whether it takes this key.
    pub fn takes(&self, key: &str) -> bool {
        let path = key.as_bytes();
        self.include.as_ref().is_none_or(|include| include.rejects(path, false)) && !self.exclude.rejects(path, false)
    }
}

/// One rule while objects come by.
struct Open {
    rule: Rule,
    deletes: Objects,
    archives: Objects,
    unsaved: Objects,
}

/// See the module's text.
pub struct Judging {
    rules: Vec<Open>,
    /// A run comes before this; not known without a gap.
    next: Option<Time>,
    gap: Option<Duration>,
}

fn add(to: &mut Objects, object: &Object) {
    if to.objects == 0 {
        to.first = object.key.clone();
    }
    to.objects += 1;
    to.bytes += object.size;
}

/// Whether a rule is about an object, as far as that can be told: tags are in no listing.
fn is_about(rule: &Rule, object: &Object) -> bool {
    object.key.starts_with(&rule.prefix)
        && rule.larger_than.is_none_or(|bytes| object.size > bytes)
        && rule.smaller_than.is_none_or(|bytes| object.size < bytes)
}

/// When a rule acts on an object that was put at this time.
fn acts(at: &Moment, put: Time) -> i64 {
    match at {
        Moment::Days(days) => put.secs.saturating_add_unsigned(u64::from(*days) * DAY),
        Moment::Date(date) => date.secs,
    }
}

fn archives(rule: &Rule) -> impl Iterator<Item = &Moment> {
    rule.moves.iter().filter(|(_, class)| ARCHIVES.contains(&&**class)).map(|(at, _)| at)
}

impl Judging {
    /// Of these rules, now, with runs that far apart.
    pub fn new(rules: Vec<Rule>, now: Time, gap: Option<&Gap>) -> Self {
        let gap = gap.map(Gap::span);
        let next = gap.map(|gap| Time { secs: now.secs.saturating_add_unsigned(gap.as_secs()), ..now });
        let open = |rule| Open { rule, deletes: Objects::default(), archives: Objects::default(), unsaved: Objects::default() };
        Judging { rules: rules.into_iter().map(open).collect(), next, gap }
    }

    /// Whether objects have to be looked at.
    pub fn needs_objects(&self) -> bool {
        self.rules.iter().any(|open| open.rule.deletes.is_some() || archives(&open.rule).next().is_some())
    }

    /// Takes in an object that no snapshot has as it is.
    pub fn unsaved(&mut self, object: &Object) {
        for open in self.rules.iter_mut().filter(|open| is_about(&open.rule, object)) {
            let soon = |at: &Moment| self.next.map(|next| acts(at, object.mtime) <= next.secs);
            match open.rule.deletes.as_ref().map(soon) {
                Some(Some(true)) => add(&mut open.deletes, object),
                Some(None) => add(&mut open.unsaved, object),
                _ if archives(&open.rule).any(|at| soon(at) == Some(true)) => add(&mut open.archives, object),
                _ => {}
            }
        }
    }

    /// What came of it.
    pub fn finish(self) -> Vec<Judged> {
        let gap = self.gap;
        let within = |at: &Moment| match (at, gap) {
            (Moment::Days(days), Some(gap)) if u64::from(*days) * DAY <= gap.as_secs() => Some(gap),
            _ => None,
        };
        let judged = self.rules.into_iter().map(|Open { rule, deletes, archives: archived, unsaved }| {
            let mut risks: Vec<Risk> = rule.deletes.as_ref().and_then(within).map(Risk::DeletesBetween).into_iter().collect();
            risks.extend(archives(&rule).find_map(within).map(Risk::ArchivesBetween));
            let some = |objects: &Objects| objects.objects > 0;
            risks.extend(Some(deletes).filter(some).map(Risk::Deletes));
            risks.extend(Some(archived).filter(some).map(Risk::Archives));
            risks.extend(Some(unsaved).filter(some).map(Risk::Unsaved));
            Judged { rule, risks }
        });
        judged.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time { secs: 1_767_225_600, nanos: 0 };

    fn deletes(days: u32) -> Rule {
        Rule { name: "r".to_owned(), prefix: "raw/".to_owned(), deletes: Some(Moment::Days(days)), ..Rule::default() }
    }

    fn object(key: &str, days_old: i64) -> Object {
        Object { key: key.to_owned(), size: 10, mtime: Time { secs: NOW.secs - days_old * 86_400, nanos: 0 }, ..Object::default() }
    }

    fn risks(rule: Rule, hours: Option<u64>, unsaved: &[Object]) -> Vec<Risk> {
        let gap = hours.map(|hours| Gap::Given(Duration::from_secs(hours * 3600)));
        let mut judging = Judging::new(vec![rule], NOW, gap.as_ref());
        unsaved.iter().for_each(|object| judging.unsaved(object));
        judging.finish().remove(0).risks
    }

    #[test]
    fn a_rule_that_is_quicker_than_runs_is_a_risk() {
        assert_eq!(risks(deletes(1), Some(24), &[]), [Risk::DeletesBetween(Duration::from_secs(86_400))]);
        assert!(risks(deletes(2), Some(24), &[]).is_empty());
        let archives = |class: &str| Rule { moves: vec![(Moment::Days(0), class.to_owned())], deletes: None, ..deletes(0) };
        assert!(matches!(risks(archives("GLACIER"), Some(1), &[])[..], [Risk::ArchivesBetween(_)]));
        assert!(risks(archives("STANDARD_IA"), Some(1), &[]).is_empty());
    }

    #[test]
    fn what_is_in_no_snapshot_and_goes_before_the_next_run_is_told() {
        let objects = [object("raw/old", 89), object("raw/young", 1), object("other", 89)];
        let told = risks(deletes(90), Some(24), &objects);
        assert_eq!(told, [Risk::Deletes(Objects { objects: 1, bytes: 10, first: "raw/old".to_owned() })]);
        // How far off the next run is nobody knows: all that some day goes.
        assert!(matches!(&risks(deletes(90), None, &objects)[..], [Risk::Unsaved(told)] if told.objects == 2));
        let dated = Rule { deletes: Some(Moment::Date(NOW)), ..deletes(0) };
        assert!(matches!(&risks(dated, Some(1), &objects)[..], [Risk::Deletes(told)] if told.objects == 2));
        let small = Rule { smaller_than: Some(10), ..deletes(90) };
        assert!(risks(small, Some(24), &objects).is_empty());
    }

    #[test]
    fn a_source_answers_only_for_what_it_takes() {
        let chosen = Chosen::new(&["*.jpg".to_owned()], &["tmp".to_owned()]).unwrap();
        assert!(chosen.takes("a/b.jpg") && !chosen.takes("a/b.png") && !chosen.takes("tmp/b.jpg"));
    }
}
