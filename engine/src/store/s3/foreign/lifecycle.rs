//! What the rules of a bucket do to its objects in time, in plain words. For whoever backs it up: an object that a rule deletes before it was
//! backed up is nowhere.

use super::{Bucket, time};
use crate::error::{Result, StoreOp};
use crate::format::wire::Time;
use crate::store::s3::Fact;
use crate::store::s3::bucket::prefix_of;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule};

/// When a rule acts on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many days after it was put.
    Days(u32),
    /// On this day, whenever it was put.
    Date(Time),
}

/// A lifecycle rule that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its name; may be empty.
    pub name: String,
    /// What the keys behind the prefix of the bucket's place begin with that it is about; empty for all of them.
    pub prefix: String,
    /// Only objects with all of these tags: name and value.
    pub tags: Vec<(String, String)>,
    /// Only objects longer than this.
    pub larger_than: Option<u64>,
    /// Only objects shorter than this.
    pub smaller_than: Option<u64>,
    /// When it deletes.
    pub deletes: Option<Moment>,
    /// When it moves objects, and to which storage class.
    pub moves: Vec<(Moment, String)>,
}

impl Bucket {
    /// The rules in force that touch what lies below the prefix and delete or move it.
    pub fn lifecycle(&self) -> Result<Fact<Vec<Rule>>> {
        let inner = &self.inner;
        let rules = inner.runtime.block_on(inner.rules());
        let rules = rules.map_err(|refusal| inner.error(StoreOp::Open, &inner.place.text(), refusal))?;
        let ours = inner.place.key("");
        let plain =
            |rules: Vec<LifecycleRule>| rules.iter().filter(|rule| inner.touches(rule)).filter_map(|rule| in_words(rule, &ours)).collect();
        Ok(match rules {
            Fact::Known(rules) => Fact::Known(plain(rules)),
            Fact::Unknown(why) => Fact::Unknown(why),
        })
    }
}

fn in_words(rule: &LifecycleRule, ours: &str) -> Option<Rule> {
    if *rule.status() != ExpirationStatus::Enabled {
        return None;
    }
    let moment = |days: Option<i32>, date: Option<&aws_sdk_s3::primitives::DateTime>| match (days, date) {
        (Some(days), _) => u32::try_from(days).ok().map(Moment::Days),
        (None, Some(date)) => Some(Moment::Date(time(Some(date)))),
        (None, None) => None,
    };
    let (filter, and) = (rule.filter(), rule.filter().and_then(|filter| filter.and()));
    let tags = filter.and_then(|f| f.tag()).into_iter().chain(and.into_iter().flat_map(|and| and.tags()));
    let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    let moves = rule.transitions().iter().filter_map(|to| {
        // Without either a transition is at once.
        let at = moment(to.days(), to.date()).unwrap_or(Moment::Days(0));
        Some((at, to.storage_class()?.as_str().to_owned()))
    });
    let rule = Rule {
        name: rule.id().unwrap_or_default().to_owned(),
        prefix: prefix_of(rule).strip_prefix(ours).unwrap_or_default().to_owned(),
        tags: tags.map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
        larger_than: bytes(filter.and_then(|f| f.object_size_greater_than()).or(and.and_then(|and| and.object_size_greater_than()))),
        smaller_than: bytes(filter.and_then(|f| f.object_size_less_than()).or(and.and_then(|and| and.object_size_less_than()))),
        deletes: rule.expiration().and_then(|expiration| moment(expiration.days(), expiration.date())),
        moves: moves.collect(),
    };
    (rule.deletes.is_some() || !rule.moves.is_empty()).then_some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{LifecycleExpiration, LifecycleRuleAndOperator, LifecycleRuleFilter, Tag, Transition, TransitionStorageClass};

    #[test]
    fn rules_are_told_in_plain_words() {
        let tag = Tag::builder().key("kind").value("raw").build().unwrap();
        let and = LifecycleRuleAndOperator::builder().prefix("photos/originals/").tags(tag).object_size_greater_than(128).build();
        let rule = |status| {
            LifecycleRule::builder()
                .id("old")
                .status(status)
                .filter(LifecycleRuleFilter::builder().and(and.clone()).build())
                .expiration(LifecycleExpiration::builder().days(90).build())
                .transitions(Transition::builder().days(30).storage_class(TransitionStorageClass::Glacier).build())
                .build()
                .unwrap()
        };
        let want = Rule {
            name: "old".to_owned(),
            prefix: "originals/".to_owned(),
            tags: vec![("kind".to_owned(), "raw".to_owned())],
            larger_than: Some(128),
            smaller_than: None,
            deletes: Some(Moment::Days(90)),
            moves: vec![(Moment::Days(30), "GLACIER".to_owned())],
        };
        assert_eq!(in_words(&rule(ExpirationStatus::Enabled), "photos/"), Some(want.clone()));
        let deeper = Rule { prefix: String::new(), ..want };
        assert_eq!(in_words(&rule(ExpirationStatus::Enabled), "photos/originals/2026/"), Some(deeper));
        assert_eq!(in_words(&rule(ExpirationStatus::Disabled), ""), None);
    }
}
