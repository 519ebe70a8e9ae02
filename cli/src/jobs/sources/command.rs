//! `kind = "command"`: what a shell command prints.

use super::whole::{Demands, Whole};
use super::{Asked, Prepared};
use crate::commands::sources::stream_name;
use crate::exit::Fail;
use crate::jobs::config::source::Command;
use seabed_engine::{CommandStream, Stream, StreamSource};
use std::sync::{Arc, Mutex};

/// As the engine takes it.
pub fn command(asked: &Asked<'_>, command: &Command) -> Result<Prepared, Fail> {
    let name = stream_name(command.filename.as_deref().unwrap_or(asked.name).as_bytes())?;
    let (line, packed) = (command.command.clone(), Arc::new(Mutex::new(None)));
    let argv = ["/bin/sh", "-c", &line].map(|word| word.as_bytes().to_vec()).to_vec();
    let demands = Demands {
        name: name.clone(),
        format: "",
        markers: command.end_marker.iter().map(|marker| marker.as_bytes().to_vec()).collect(),
        after: &[],
        bounds: asked.bounds.clone(),
        last: true,
        packed: packed.clone(),
    };
    let is_tar = command.tar;
    let open = move || {
        let started = CommandStream::start(&line)?;
        // An archive has an end of its own, and is unpacked on the way.
        let stream: Box<dyn Stream> = if is_tar { Box::new(started) } else { Box::new(Whole::new(started, demands)) };
        Ok(stream)
    };
    let source = StreamSource { name, argv, open: Mutex::new(Some(Box::new(open))), allow_empty: command.allow_empty };
    let mut prepared = Prepared { packed: vec![packed], ..Prepared::default() };
    if is_tar {
        prepared.tars.push(source)
    } else {
        prepared.streams.push(source)
    }
    Ok(prepared)
}
