//! From a manifest down (chapter 6): every chunk that a snapshot needs, and what its files hold.

use crate::reader::cbor::Value;
use crate::reader::objects::Manifest;
use crate::reader::{Id, Read, hex};
use std::collections::BTreeMap;

/// Levels that any tree may have.
const LEVELS_MAX: u64 = 8;

/// Walks manifests over chunks that `plain` finds.
pub struct Needs<F> {
    plain: F,
    ids: Vec<Id>,
}

impl<'p, F: Fn(&Id) -> Option<&'p [u8]>> Needs<F> {
    /// With nothing needed yet.
    pub fn new(plain: F) -> Self {
        Needs { plain, ids: Vec::new() }
    }

    /// The ids of all chunks, each as often as it is met.
    pub fn of(mut self, manifest: &Manifest) -> Read<Vec<Id>> {
        for root in manifest.index.field(2)?.array()? {
            self.root(root, None)?;
        }
        Ok(self.ids)
    }

    /// What the files and streams hold, by path.
    pub fn contents(mut self, manifest: &Manifest) -> Read<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let names = manifest.names.field(22)?.array()?;
        for (root, named) in manifest.index.field(2)?.array()?.iter().zip(names) {
            if let Some(content) = self.root(root, Some(&mut files))? {
                files.insert(named.field(2)?.bytes()?.to_vec(), content);
            }
        }
        Ok(files)
    }

    fn chunk(&mut self, id: &Id) -> Read<&'p [u8]> {
        self.ids.push(*id);
        (self.plain)(id).ok_or_else(|| format!("chunk {} never was in any pack", hex(&id[..4])))
    }

    fn node(&mut self, id: &Id) -> Read<Vec<Value>> {
        match Value::whole(self.chunk(id)?)? {
            Value::Array(items) => Ok(items),
            _ => Err("a node that is no array".to_owned()),
        }
    }

    /// A stream's content is returned where anybody wants contents.
    fn root(&mut self, root: &Value, mut files: Option<&mut BTreeMap<Vec<u8>, Vec<u8>>>) -> Read<Option<Vec<u8>>> {
        if root.field(0)?.uint()? == 1 {
            let mut content = files.is_some().then(Vec::new);
            self.content(root.field(12)?, &mut content)?;
            return Ok(content);
        }
        let (names, lists) = (root.field(4)?.fixed()?, root.field(6)?.fixed()?);
        self.tree(root.uint_or_0(2)?, &names, &lists, &mut files)?;
        Ok(None)
    }

    fn tree(&mut self, level: u64, names: &Id, lists: &Id, files: &mut Option<&mut BTreeMap<Vec<u8>, Vec<u8>>>) -> Read<()> {
        if level > LEVELS_MAX {
            return Err("a tree too deep".to_owned());
        }
        if level > 0 {
            let [Value::Uint(1), Value::Uint(have), children] = &self.node(lists)?[..] else { return Err("a lists node".to_owned()) };
            if *have != level {
                return Err("a node of another level".to_owned());
            }
            self.chunk(names)?;
            let children = children.ids()?;
            return children.as_chunks::<2>().0.iter().try_for_each(|[lists, names]| self.tree(level - 1, names, lists, files));
        }
        let [Value::Uint(0), contents] = &self.node(lists)?[..] else { return Err("a lists leaf".to_owned()) };
        let [Value::Uint(0), groups] = &self.node(names)?[..] else { return Err("a names leaf".to_owned()) };
        let mut contents = contents.array()?.iter();
        for group in groups.array()? {
            let [dir, entries] = group.array()? else { return Err("a group".to_owned()) };
            for entry in entries.array()? {
                // Files alone have content, and those that could not be read have none.
                if entry.field(2)?.uint()? != 1 || entry.uint_or_0(42)? == 2 {
                    continue;
                }
                let mut content = files.is_some().then(Vec::new);
                self.content(contents.next().ok_or("fewer contents than files")?, &mut content)?;
                if let (Some(files), Some(content)) = (files.as_deref_mut(), content) {
                    let (dir, name) = (dir.bytes()?, entry.field(0)?.bytes()?);
                    let path = if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() };
                    files.insert(path, content);
                }
            }
        }
        if contents.next().is_some() { Err("more contents than files".to_owned()) } else { Ok(()) }
    }

    fn content(&mut self, content: &Value, out: &mut Option<Vec<u8>>) -> Read<()> {
        match content {
            Value::Array(runs) => self.runs(runs, out),
            root => self.list(root.uint_or_0(0)?, &root.field(2)?.fixed()?, out),
        }
    }

    fn runs(&mut self, runs: &[Value], out: &mut Option<Vec<u8>>) -> Read<()> {
        for run in runs {
            match run {
                Value::Uint(hole) => {
                    if let Some(out) = out {
                        out.resize(out.len() + *hole as usize, 0);
                    }
                }
                run => {
                    for id in run.ids()? {
                        match out {
                            // What is only needed need not be there to be needed.
                            None => self.ids.push(id),
                            Some(out) => out.extend_from_slice(self.chunk(&id)?),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, level: u64, id: &Id, out: &mut Option<Vec<u8>>) -> Read<()> {
        match &self.node(id)?[..] {
            [Value::Uint(2), Value::Uint(0), runs] if level == 0 => self.runs(runs.array()?, out),
            [Value::Uint(2), Value::Uint(have), ids, _] if *have == level && (1..=LEVELS_MAX).contains(&level) => {
                ids.ids()?.iter().try_for_each(|id| self.list(level - 1, id, out))
            }
            _ => Err("a list node".to_owned()),
        }
    }
}
