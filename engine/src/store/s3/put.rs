//! Putting objects: one PUT each, hashed beforehand, never acknowledged on the strength of an answer that anybody could have given.
//! An ambiguous end is neither success nor failure until it was looked at: putting the same bytes again is always legal.

use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::{Class, ObjectName};
use crate::store::Listed;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::meter::Outgoing;
use crate::store::s3::request::{CHECKSUMS, CONDITIONAL_PUT, Try};
use crate::store::s3::{Inner, Sse};
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

/// Objects of one page of a listing.
const PAGE: usize = 1000;

/// Has the signature cover the body though that is streamed: the store then refuses what was damaged on the way.
#[derive(Debug)]
pub(super) struct Signed(pub(super) String);

impl Intercept for Signed {
    fn name(&self) -> &'static str {
        "Signed"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        bag.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}

/// What this run put and has not seen in the store since.
#[derive(Default)]
pub(super) struct Unconfirmed {
    /// Packs and segments.
    objects: Vec<Listed>,
    roots: Vec<(ObjectName, Bytes)>,
}

/// Something to be looked for.
pub(super) enum Confirm {
    /// Is it there, in its length?
    Object(Listed),
    /// Are all of these there, which lie in one folder?
    Folder(&'static str, Vec<Listed>),
    /// Is it there, with these bytes?
    Root(ObjectName, Bytes),
}

/// Which headers a PUT carries that not every store knows.
#[derive(Clone, Copy, Default)]
struct Extras {
    conditional: bool,
    checksum: bool,
    /// The hash is another body's: what does the store say?
    wrong: bool,
}

impl Inner {
    pub(super) async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<()> {
        let failed = |refusal| self.object_error(StoreOp::Put, name, refusal);
        let (conditional, checksum) = (!self.lacks(CONDITIONAL_PUT), !self.lacks(CHECKSUMS));
        // A refusal does not say which header it is about.
        let ways = [(true, true), (true, false), (false, true), (false, false)].into_iter();
        let ways = ways.map(|(c, s)| Extras { conditional: c && conditional, checksum: s && checksum, wrong: false });
        let mut refused = None;
        let damaged = AtomicBool::new(false);
        for extras in ways {
            let debris = match self.put_once(name, &bytes, extras, &damaged).await {
                Ok(()) => {
                    if refused.is_some() {
                        self.note_lack(if conditional && !extras.conditional { CONDITIONAL_PUT } else { 0 });
                        self.note_lack(if checksum && !extras.checksum { CHECKSUMS } else { 0 });
                    }
                    false
                }
                // There already: by an earlier try whose answer was lost, or by somebody else.
                Err(refusal) if refusal.verdict == Verdict::Exists && extras.conditional => {
                    // A store that shows a new object late may refuse a second one at once.
                    let there = self.patient(name, || self.get(name, bytes.len() as u64)).await;
                    match there {
                        Ok(there) if there == bytes => false,
                        // As in a directory: a beginning of an object is debris.
                        Ok(there) if bytes.starts_with(&there) => true,
                        // And so is what the store took, held against its digest and refused: some keep it all the same.
                        Ok(_) if damaged.load(Relaxed) && name.as_pack().is_some() => true,
                        // Some refuse because of what nobody can read: an upload that broke off, an entry without an object. The same
                        // bytes under their name do no harm.
                        Err(error) if error.is_missing() => true,
                        // In an archive it cannot be read, and need not be: a pack's name is the hash of its bytes.
                        Err(Error::Archived { .. }) if name.as_pack().is_some() => {
                            let whole = self.size(name).await? == Some(bytes.len() as u64);
                            !whole || damaged.load(Relaxed)
                        }
                        Ok(_) | Err(Error::Damaged { damage: Damage::TooLarge { .. }, .. }) => {
                            let source = io::Error::new(io::ErrorKind::AlreadyExists, "an object of other bytes has this name");
                            return Err(Error::Store { op: StoreOp::Put, object: name.to_string(), source });
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(refusal) if refusal.verdict == Verdict::Unsupported => {
                    refused = Some(refusal);
                    continue;
                }
                Err(refusal) => return Err(self.given_up(name, &bytes, refusal).await),
            };
            if debris && let Err(refusal) = self.put_once(name, &bytes, Extras { conditional: false, ..extras }, &damaged).await {
                return Err(self.given_up(name, &bytes, refusal).await);
            }
            self.missing().remove(name);
            match name.folder() {
                // What two runs may make at once under one name, and without which nobody opens the repository, is seen in the store first.
                "" | "slots" | "keyring" => self.read_back(name, &bytes).await?,
                // What a run is acknowledged by is read again before that.
                "snapshots" => self.unconfirmed().roots.push((name.clone(), bytes)),
                folder if folder == "index" || name.as_pack().is_some() => {
                    self.unconfirmed().objects.push(Listed::new(name.clone(), bytes.len() as u64));
                }
                _ => {}
            }
            return Ok(());
        }
        Err(failed(refused.unwrap_or_else(|| Refusal::new(Verdict::Unsupported, "the store takes no PUT"))))
    }

    /// What a failed put means. A pack that was refused as damaged may have been kept: a later run would find it under its name and at its
    /// length, and build upon it. Where it may not be deleted, `check --read-data` finds it.
    async fn given_up(&self, name: &ObjectName, bytes: &Bytes, refusal: Refusal) -> Error {
        if refusal.verdict == Verdict::Garbled
            && name.as_pack().is_some()
            && self.get(name, bytes.len() as u64).await.is_ok_and(|there| there != *bytes)
        {
            self.delete(name).await.unwrap_or(());
        }
        self.object_error(StoreOp::Put, name, refusal)
    }

    /// For a probe: whether a conditional PUT replaces what is there.
    pub(super) async fn put_differs(&self, name: &ObjectName, bytes: Bytes) -> Result<bool> {
        let extras = Extras { conditional: true, checksum: !self.lacks(CHECKSUMS), ..Extras::default() };
        match self.put_once(name, &bytes, extras, &AtomicBool::default()).await {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.verdict == Verdict::Exists => Ok(false),
            Err(refusal) => Err(self.object_error(StoreOp::Put, name, refusal)),
        }
    }

    /// For a probe: whether a body is taken that has another hash than its checksum, or its signature, says.
    pub(super) async fn put_takes_wrong(&self, name: &ObjectName, bytes: Bytes, checksum: bool) -> Result<bool> {
        let extras = Extras { checksum, wrong: true, ..Extras::default() };
        match self.put_once(name, &bytes, extras, &AtomicBool::default()).await {
            Ok(()) => Ok(true),
            Err(refusal)
                if matches!(refusal.verdict, Verdict::Passing | Verdict::Throttled(_) | Verdict::Credentials | Verdict::Keyless) =>
            {
                Err(self.object_error(StoreOp::Put, name, refusal))
            }
            Err(_) => Ok(false),
        }
    }

    /// Puts. `damaged` is raised where the store says of a try that what arrived is not what was sent.
    async fn put_once(&self, name: &ObjectName, bytes: &Bytes, extras: Extras, damaged: &AtomicBool) -> Result<(), Refusal> {
        let key = self.place.key(name.as_str());
        let is_data = matches!(name.as_pack(), Some((Class::Data, _)));
        self.request(|Try { client, moved }| {
            let key = &key;
            async move {
                // Anew for each try: a bit that flipped in memory since the last one is a digest that does not match.
                let digest = Sha256::digest(bytes);
                let wrong = Sha256::digest(b"of something else");
                let (checksum, body_hash) = match (extras.wrong, extras.checksum) {
                    (false, _) => (digest, digest),
                    (true, true) => (wrong, digest),
                    (true, false) => (digest, wrong),
                };
                let body = Outgoing::body(bytes.clone(), self.meter.clone(), self.up.clone(), moved);
                let mut put = client.put_object().bucket(&self.place.bucket).key(key).body(ByteStream::new(body));
                put = put.content_length(bytes.len() as i64).content_type("application/octet-stream");
                if extras.conditional {
                    put = put.if_none_match("*");
                }
                if extras.checksum {
                    put = put.checksum_sha256(STANDARD.encode(checksum));
                }
                // What is read at every opening and every check stays where it costs nothing to read.
                if let Some(class) = self.options.storage_class.as_deref().filter(|_| is_data) {
                    put = put.storage_class(StorageClass::from(class));
                }
                let signed = Signed(crate::id::hex(&body_hash));
                let answer = self.encrypted(put).customize().interceptor(signed).send().await.map_err(judge).inspect_err(|refusal| {
                    damaged.fetch_or(refusal.verdict == Verdict::Garbled, Relaxed);
                })?;
                // A proxy or a portal can say 200 to anything, and a store can say it before something goes wrong.
                if answer.e_tag().is_some() {
                    return Ok(());
                }
                let head = client.head_object().bucket(&self.place.bucket).key(key).send().await.map_err(|error| {
                    let refusal = judge(error);
                    if refusal.verdict == Verdict::Missing {
                        Refusal::new(Verdict::Passing, "the store took it and does not have it")
                    } else {
                        refusal
                    }
                })?;
                match head.content_length() {
                    Some(length) if length == bytes.len() as i64 => Ok(()),
                    _ => Err(Refusal::new(Verdict::Passing, "the answer to a PUT is not a store's")),
                }
            }
        })
        .await
    }

    /// Has the store encrypt what is put, as was asked for.
    pub(super) fn encrypted(&self, put: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        match &self.options.sse {
            None => put,
            Some(Sse::Aes256) => put.server_side_encryption(ServerSideEncryption::Aes256),
            Some(Sse::Kms(key)) => put.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key.clone()),
        }
    }

    async fn read_back(&self, name: &ObjectName, bytes: &Bytes) -> Result<()> {
        let there = self.patient(name, || self.get(name, bytes.len() as u64)).await;
        match there {
            Ok(there) if there == *bytes => Ok(()),
            Ok(_) | Err(Error::Damaged { damage: Damage::TooLarge { .. }, .. }) => {
                let source = io::Error::new(io::ErrorKind::AlreadyExists, "an object of other bytes has this name");
                Err(Error::Store { op: StoreOp::Put, object: name.to_string(), source })
            }
            Err(error) => Err(error),
        }
    }

    fn unconfirmed(&self) -> MutexGuard<'_, Unconfirmed> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is to be confirmed: a 200 that stored nothing has been seen. Packs are looked for by listings where that is fewer requests.
    pub(super) fn to_confirm(&self) -> Vec<Confirm> {
        let Unconfirmed { mut objects, roots } = std::mem::take(&mut *self.unconfirmed());
        let mut questions: Vec<Confirm> = roots.into_iter().map(|(name, bytes)| Confirm::Root(name, bytes)).collect();
        for folder in [Class::Data, Class::Names, Class::Lists].map(Class::folder) {
            let of_folder = |object: &Listed| object.name.folder() == folder;
            if objects.iter().filter(|object| of_folder(object)).count() > 1 + self.objects_in(folder) / PAGE {
                let (ours, others) = objects.into_iter().partition(of_folder);
                objects = others;
                questions.push(Confirm::Folder(folder, ours));
            }
        }
        questions.extend(objects.into_iter().map(Confirm::Object));
        questions
    }

    /// What is not there at the first look. A root is read back, and waited for.
    pub(super) async fn unseen(&self, what: &Confirm) -> Result<Vec<Listed>> {
        let mut unseen = Vec::new();
        match what {
            Confirm::Root(name, bytes) => self.read_back(name, bytes).await?,
            Confirm::Object(object) => unseen.extend(self.not_there(object).await?),
            Confirm::Folder(folder, objects) => {
                // One that cannot be listed is looked at object by object.
                let listed = self.list(folder).await.unwrap_or_default();
                let there: HashMap<ObjectName, u64> = listed.into_iter().map(|object| (object.name, object.bytes)).collect();
                for object in objects.iter().filter(|object| there.get(&object.name) != Some(&object.bytes)) {
                    unseen.extend(self.not_there(object).await?);
                }
            }
        }
        Ok(unseen)
    }

    async fn not_there(&self, object: &Listed) -> Result<Option<Listed>> {
        Ok((self.size(&object.name).await? != Some(object.bytes)).then(|| object.clone()))
    }

    /// Looks until an object is there, or is not going to be.
    pub(super) async fn wait_for(&self, object: &Listed) -> Result<()> {
        let began = Instant::now();
        let mut wait = self.budget.pace().missing / 8;
        while self.size(&object.name).await? != Some(object.bytes) {
            if began.elapsed() + wait > self.budget.pace().missing * 6 || wait.is_zero() {
                let what = format!("the store took {} with a 200 and does not have it", object.name);
                let source = io::Error::new(io::ErrorKind::NotFound, what);
                return Err(Error::Store { op: StoreOp::Put, object: object.name.to_string(), source });
            }
            self.rest(wait).await.map_err(|refusal| self.object_error(StoreOp::Put, &object.name, refusal))?;
            wait *= 2;
        }
        Ok(())
    }
}
