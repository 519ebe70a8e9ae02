//! Forgetting in the path index: what only snapshots that are gone had goes, with the names that nobody has any more.
//! It must never change what is said of a snapshot that stays.

use crate::error::Result;
use crate::id::SnapshotId;
use crate::paths::search::BLOCK_PATHS;
use crate::paths::{Filling, Known, PathIndex, State};
use rusqlite::{Transaction, params};
use std::collections::{BTreeSet, HashMap};

/// Snapshots that are gone before they are worth a walk over all that is known (a second per million rows): a retention policy forgets one a
/// day. In a small index fewer will do, a quarter of what stays.
const GONE_MIN: usize = 16;
/// Paths that are looked at in one go.
const STEP_PATHS: i64 = 1 << 15;

/// What a row says beside where it stands: kind, mode, owner, group, size, time, digests.
type Values = [Option<i64>; 8];
/// Place of a directory's time among them, which follows from what happened in it.
const MTIME: usize = 5;
/// A row: path, line, since when, what.
type Row = (i64, i64, i64, Values);

/// What is to become of the rows of a snapshot that is gone: they hold from the next one that stays on, or go with the last.
type Moves = HashMap<(i64, i64), Option<i64>>;

impl PathIndex {
    /// Drops what only those snapshots had that do not live, where there are enough of them. Returns whether it did.
    pub fn compact(&mut self, lives: &dyn Fn(&SnapshotId) -> bool) -> Result<bool> {
        let known = self.known()?;
        let gone = known.iter().filter(|known| !lives(&known.id)).count();
        if gone == 0 || gone < GONE_MIN && gone * 4 < known.len() - gone {
            return Ok(false);
        }
        let filling = self.fill()?;
        filling.forget(lives)?;
        filling.commit()?;
        self.give_back()?;
        Ok(true)
    }

    /// Leaves out the older half of what is indexed, but never the newest of all. Returns how many snapshots that were.
    pub fn make_room(&mut self, lives: &dyn Fn(&SnapshotId) -> bool) -> Result<usize> {
        let filling = self.fill()?;
        let mut indexed: Vec<Known> =
            filling.known()?.into_iter().filter(|known| known.state == State::Indexed && lives(&known.id)).collect();
        indexed.sort_by_key(|known| (known.time, known.id));
        indexed.truncate(indexed.len() / 2);
        for old in &indexed {
            filling.enter(&Known { state: State::LeftOut, ..old.clone() })?;
        }
        filling.forget(lives)?;
        filling.commit()?;
        self.give_back()?;
        Ok(indexed.len())
    }

    fn give_back(&self) -> Result<()> {
        // One step frees one page, and there is a row for each.
        let free = || self.db.prepare("PRAGMA incremental_vacuum")?.query_map([], |_| Ok(()))?.try_for_each(|row| row);
        free().map_err(|e| self.failed(e))
    }
}

impl Filling<'_> {
    fn forget(&self, lives: &dyn Fn(&SnapshotId) -> bool) -> Result<()> {
        let known = self.known()?;
        let forget = || {
            let moves = moves(&known, lives);
            let last: i64 = self.tx.query_row("SELECT coalesce(max(path), 0) FROM paths", [], |row| row.get(0))?;
            let mut blocks = BTreeSet::new();
            for first in (0..=last / STEP_PATHS).map(|step| step * STEP_PATHS) {
                compact_range(&self.tx, (first, first + STEP_PATHS), &moves, &mut blocks)?;
            }
            for block in blocks {
                self.tx.prepare_cached("DELETE FROM blocks WHERE block = ?1")?.execute([block])?;
            }
            for gone in known.iter().filter(|known| !lives(&known.id)) {
                self.tx.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute([gone.id.as_bytes()])?;
            }
            self.tx.execute("DELETE FROM dirs WHERE NOT EXISTS (SELECT 1 FROM paths WHERE paths.dir = dirs.dir)", [])?;
            self.tx.execute("DELETE FROM lines WHERE NOT EXISTS (SELECT 1 FROM snapshots WHERE snapshots.line = lines.line)", [])
        };
        forget().map(|_| ()).map_err(|e| self.failed(e))
    }
}

fn moves(known: &[Known], lives: &dyn Fn(&SnapshotId) -> bool) -> Moves {
    let mut moves = Moves::new();
    // They are by line and place.
    for line in known.chunk_by(|a, b| a.line == b.line) {
        let mut next = None;
        for known in line.iter().rev() {
            if known.state == State::Indexed && lives(&known.id) {
                next = Some(known.place);
            } else {
                moves.insert((known.line, known.place), next);
            }
        }
    }
    moves
}

fn compact_range(tx: &Transaction<'_>, (first, end): (i64, i64), moves: &Moves, blocks: &mut BTreeSet<i64>) -> rusqlite::Result<()> {
    let sql = "SELECT path, line, since, kind, mode, uid, gid, size, mtime, content, rest FROM versions \
               WHERE path >= ?1 AND path < ?2 ORDER BY path, line, since";
    let mut query = tx.prepare_cached(sql)?;
    let rows = query.query_map([first, end], |row| {
        let mut values = Values::default();
        for (at, value) in values.iter_mut().enumerate() {
            *value = row.get(at + 3)?;
        }
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, values))
    })?;
    let rows: Vec<Row> = rows.collect::<rusqlite::Result<_>>()?;
    for of_path in rows.chunk_by(|a, b| a.0 == b.0) {
        for of_line in of_path.chunk_by(|a, b| a.1 == b.1) {
            let kept = kept(of_line, moves);
            let mut delete = tx.prepare_cached("DELETE FROM versions WHERE path = ?1 AND line = ?2 AND since = ?3")?;
            for (path, line, since, _) in of_line.iter().filter(|row| !kept.contains(row)) {
                delete.execute([path, line, since])?;
            }
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
            for (path, line, since, [a, b, c, d, e, f, g, h]) in kept.iter().filter(|row| !of_line.contains(row)) {
                put.execute(params![path, line, since, a, b, c, d, e, f, g, h])?;
            }
        }
    }
    // Also those whose last rows went with a place of their line.
    let sql = "DELETE FROM paths WHERE path >= ?1 AND path < ?2 AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.path = paths.path) RETURNING path";
    let mut gone = tx.prepare_cached(sql)?;
    let gone = gone.query_map([first, end], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    blocks.extend(gone.into_iter().map(|path| (path - 1) / BLOCK_PATHS));
    Ok(())
}

/// What is left of the rows of one path in one line: at each place the last word, and none that only repeats the one before.
fn kept(rows: &[Row], moves: &Moves) -> Vec<Row> {
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for (path, line, since, values) in rows {
        let since = match moves.get(&(*line, *since)) {
            None => *since,
            Some(Some(next)) => *next,
            Some(None) => continue,
        };
        kept.pop_if(|before| before.2 == since);
        // That it was not there before it came is no news either.
        let is_news = kept.last().map_or(values[0].is_some(), |before| !is_same(&before.3, values));
        if is_news {
            kept.push((*path, *line, since, *values));
        }
    }
    kept
}

fn is_same(a: &Values, b: &Values) -> bool {
    let is_dir = a[0] == Some(0) && b[0] == Some(0);
    a.iter().zip(b).enumerate().all(|(at, (a, b))| a == b || is_dir && at == MTIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(said: &[(i64, Option<i64>)]) -> Vec<Row> {
        said.iter().map(|(since, kind)| (1, 1, *since, [*kind, Some(7), None, None, None, None, None, None])).collect()
    }

    #[test]
    fn the_last_word_before_one_that_stays_counts() {
        let moves = Moves::from([((1, 2), Some(3)), ((1, 4), Some(6)), ((1, 5), Some(6)), ((1, 7), None)]);
        let case = |said: &[(i64, Option<i64>)]| kept(&rows(said), &moves).into_iter().map(|row| (row.2, row.3[0])).collect::<Vec<_>>();
        assert_eq!(case(&[(1, Some(1)), (2, Some(2))]), [(1, Some(1)), (3, Some(2))]);
        assert_eq!(case(&[(2, Some(1)), (3, Some(2))]), [(3, Some(2))]);
        assert_eq!(case(&[(1, Some(1)), (4, Some(2)), (5, Some(1))]), [(1, Some(1))], "nobody saw it otherwise");
        assert_eq!(case(&[(4, Some(1)), (5, None)]), [], "it came and went among those that are gone");
        assert_eq!(case(&[(1, Some(1)), (7, None)]), [(1, Some(1))], "nobody saw it go");
        assert_eq!(case(&[(7, Some(1))]), []);
        assert_eq!(case(&[(1, Some(1)), (3, None), (6, Some(1))]), [(1, Some(1)), (3, None), (6, Some(1))]);
    }
}
