//! How fast it goes and how long it will take: from what was measured, and of a backup from what the last run met.
//! It must never give a figure that nobody knows: no percentage without a total or a history, no end before there is something to go by.

use seabed_engine::observe::{Progress, Stage};
use std::time::{Duration, Instant};

/// What a file costs besides its bytes, in bytes: to look at 100,000 unchanged files takes as long as to read some hundred MB.
const FILE_WORK: f64 = 4096.0;
/// What the footer of a pack costs.
const PACK_WORK: f64 = 65_536.0;
/// Between two samples.
const SAMPLE: Duration = Duration::from_millis(250);
/// Silence that can only mean that the process stood still: it is looked after every second.
const STOPPED: Duration = Duration::from_secs(5);
/// No end is foretold before so much time was measured,
const MEASURED_MIN: Duration = Duration::from_secs(2);
/// and so much of the work was done.
const DONE_MIN: f64 = 0.001;
/// What a backup passed of what there was last time, before what it found says something of the rest.
const PASSED_MIN: f64 = 0.02;

/// What the last run of a series met.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct History {
    /// Files, streams among them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, bytes of streams: they come first, and are read whole.
    pub stream_bytes: u64,
    /// Bytes that had to be read; `None` where that says nothing of this run.
    pub read: Option<u64>,
}

impl History {
    /// Whether there were streams and nothing else.
    pub fn is_streams(&self) -> bool {
        self.bytes == self.stream_bytes
    }
}

/// A piece of work, in bytes or what takes as long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Done.
    pub done: f64,
    /// In all.
    pub total: f64,
    /// The total is a guess.
    pub guess: bool,
}

/// How much of the work is done, as far as anybody can tell.
pub fn work(p: &Progress, history: Option<&History>) -> Option<Work> {
    let counted = |bytes: u64, files: u64, packs: u64| bytes as f64 + FILE_WORK * files as f64 + PACK_WORK * packs as f64;
    let known = Work {
        done: counted(p.bytes_done, if p.files_total > 0 { p.files_done } else { 0 }, p.packs_done),
        total: counted(p.bytes_total, p.files_total, p.packs_total),
        guess: false,
    };
    let work = if known.total > 0.0 { Some(known) } else { history.and_then(|history| by_history(p, history)) };
    // A total that was reached, or was wrong, is none any more.
    work.filter(|work| work.done < work.total && p.stage != Stage::Finishing && p.stage != Stage::Preparing)
}

fn by_history(p: &Progress, last: &History) -> Option<Work> {
    if p.files_done > last.files || p.bytes_done > last.bytes {
        return None;
    }
    let stream_left = last.stream_bytes.saturating_sub(p.bytes_done) as f64;
    // The rest are files: how much was passed, and how much of that had to be read.
    let of_files = |bytes: u64| bytes.saturating_sub(last.stream_bytes) as f64;
    let (all, passed, read) = (of_files(last.bytes), of_files(p.bytes_done), of_files(p.bytes_read));
    let part = if all > 0.0 { passed / all } else { p.files_done as f64 / last.files.max(1) as f64 };
    let as_now = if passed > 0.0 { (all - passed) * (read / passed).min(1.0) } else { 0.0 };
    let read_left = match last.read {
        // The further it is, the more this run says of its own rest.
        Some(before) => (1.0 - part) * (of_files(before) - read).max(0.0) + part * as_now,
        None if part < PASSED_MIN && all > 0.0 => return None,
        None => as_now,
    };
    let done = p.bytes_read as f64 + FILE_WORK * p.files_done as f64;
    let files_left = last.files.saturating_sub(p.files_done) as f64;
    Some(Work { done, total: done + stream_left + read_left.min(all - passed) + FILE_WORK * files_left, guess: true })
}

/// What there is to go by where no total is known: the rate is one of whatever is counted.
pub fn measure(p: &Progress, history: Option<&History>) -> f64 {
    match work(p, history) {
        Some(work) => work.done,
        None => p.bytes_read.max(if history.is_some() { 0 } else { p.bytes_done }) as f64 + FILE_WORK * p.files_done as f64,
    }
}

/// So much a second, smoothed: what was lately counts most, and the longer it runs the more is lately.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    value: f64,
    work: f64,
    at: Instant,
    measured: Duration,
}

impl Rate {
    /// Nothing measured yet.
    pub fn new(now: Instant, work: f64) -> Self {
        Rate { value: 0.0, work, at: now, measured: Duration::ZERO }
    }

    fn smoothing(&self) -> f64 {
        (self.measured.as_secs_f64() / 4.0).clamp(8.0, 120.0)
    }

    /// Takes a sample, unless the last one was just now.
    pub fn note(&mut self, now: Instant, work: f64) {
        let time = now.saturating_duration_since(self.at);
        if time < SAMPLE {
            return;
        }
        let lately = (work - self.work).max(0.0) / time.as_secs_f64();
        // The first samples count as many as they are: a value that begins with nothing would be too low for long.
        let weight = (1.0 - (-time.as_secs_f64() / self.smoothing()).exp()).max(time.as_secs_f64() / (self.measured + time).as_secs_f64());
        self.value += weight * (lately - self.value);
        (self.work, self.at, self.measured) = (work, now, self.measured + time);
    }

    /// Time in which nobody could work does not count.
    pub fn skip(&mut self, time: Duration) {
        self.at += time;
    }

    /// The rate now: what came to a standstill gets slower by and by.
    pub fn at(&self, now: Instant) -> f64 {
        let silent = now.saturating_duration_since(self.at).saturating_sub(Duration::from_secs(1));
        self.value * (-silent.as_secs_f64() / self.smoothing()).exp()
    }

    /// How long the rest of the work takes, once that can be told.
    pub fn left(&self, now: Instant, work: &Work) -> Option<Duration> {
        let rate = self.at(now);
        let enough = self.measured >= MEASURED_MIN && work.done >= work.total * DONE_MIN && rate > 0.0;
        let seconds = (work.total - work.done) / rate;
        // Weeks are no forecast but a store that does not move.
        (enough && seconds.is_finite() && seconds < 100.0 * 86_400.0).then(|| Duration::from_secs_f64(seconds))
    }
}

/// Looks after the clock: tells time in which the process stood still (Ctrl-Z) from time in which it worked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    last: Option<Instant>,
}

impl Pulse {
    /// Somebody is alive. Returns how long nobody was.
    pub fn beat(&mut self, now: Instant) -> Duration {
        let silent = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        if silent > STOPPED { silent } else { Duration::ZERO }
    }

    /// The same from one who is not always there: before the first beat of the other it means nothing.
    pub fn look(&mut self, now: Instant) -> Duration {
        if self.last.is_some() { self.beat(now) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn backup(files_done: u64, bytes_done: u64, bytes_read: u64) -> Progress {
        Progress { stage: Stage::Working, files_done, bytes_done, bytes_read, ..Progress::default() }
    }

    /// What the run shows at a time of its own, and how long it really takes from there.
    fn check(history: Option<&History>, total_ms: u64, at_ms: u64, state: impl Fn(u64) -> Progress) -> Option<f64> {
        let start = Instant::now();
        let mut rate = Rate::new(start, measure(&state(0), history));
        for ms in (0..=at_ms).step_by(100) {
            rate.note(at(start, ms), measure(&state(ms), history));
        }
        let left = rate.left(at(start, at_ms), &work(&state(at_ms), history)?)?;
        Some(left.as_secs_f64() / Duration::from_millis(total_ms - at_ms).as_secs_f64())
    }

    #[test]
    fn the_end_of_steady_work_is_foretold() {
        let state = |ms| Progress { bytes_done: ms * 1000, bytes_total: 100_000_000, ..backup(0, 0, 0) };
        for at in [2500, 10_000, 50_000, 90_000] {
            let ratio = check(None, 100_000, at, state).unwrap();
            assert!((0.95..1.05).contains(&ratio), "at {at}: {ratio}");
        }
        assert_eq!(check(None, 100_000, 1000, state), None, "too early to say");
    }

    #[test]
    fn nothing_is_said_that_nobody_knows() {
        assert_eq!(work(&backup(10, 1000, 1000), None), None);
        let last = History { files: 100, bytes: 1 << 30, stream_bytes: 0, read: None };
        // The first run read all: that says nothing of the second, before it has seen something itself.
        assert_eq!(work(&backup(1, 1 << 20, 0), Some(&last)), None);
        assert!(work(&backup(50, 1 << 29, 0), Some(&last)).is_some_and(|work| work.guess));
        // What outgrew the last run has no end that it could tell.
        assert_eq!(work(&backup(101, 1 << 29, 0), Some(&last)), None);
        assert_eq!(work(&backup(50, (1 << 30) + 1, 0), Some(&last)), None);
        // A total that is reached is no end yet: what is left is not counted.
        assert_eq!(work(&Progress { bytes_done: 10, bytes_total: 10, ..backup(0, 0, 0) }, None), None);
        assert_eq!(work(&Progress { stage: Stage::Finishing, bytes_total: 10, ..backup(0, 0, 0) }, None), None);
        assert_eq!(work(&Progress { packs_done: 1, packs_total: 4, ..backup(0, 0, 0) }, None).map(|w| w.done / w.total), Some(0.25));
    }

    /// 100,000 files of 1 GB, of which the last run read 100 MB, all over the place: passing the others takes next to nothing.
    #[test]
    fn unchanged_files_are_told_from_what_is_read() {
        let last = History { files: 100_000, bytes: 1_000_000_000, stream_bytes: 0, read: Some(100_000_000) };
        let state = |ms| backup(ms * 10, ms * 100_000, ms * 10_000);
        for at in [2500, 5000, 9000] {
            let ratio = check(Some(&last), 10_000, at, state).unwrap();
            assert!((0.9..1.1).contains(&ratio), "at {at}: {ratio}");
        }
        // The same where the last run had read all of it.
        let first = History { read: None, ..last };
        let ratio = check(Some(&first), 10_000, 5000, state).unwrap();
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }

    /// A changed file that is nearly all there is to read lies at the end of the walk: its time is known from the last run.
    #[test]
    fn a_large_file_at_the_end_is_expected() {
        let last = History { files: 10_000, bytes: 11_000_000_000, stream_bytes: 0, read: Some(10_000_000_000) };
        // The walk takes 1 s, the file 100 s.
        let state = |ms: u64| match ms {
            0..1000 => backup(ms * 10, ms * 1_000_000, 0),
            _ => backup(9_999, 1_000_000_000 + (ms - 1000) * 100_000, (ms - 1000) * 100_000),
        };
        let ratio = check(Some(&last), 101_000, 11_000, state).unwrap();
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
    }

    #[test]
    fn streams_come_first_and_are_read_whole() {
        let last = History { files: 2, bytes: 3_000, stream_bytes: 3_000, read: Some(3_000) };
        assert!(last.is_streams());
        let at = work(&backup(1, 1_500, 1_500), Some(&last)).unwrap();
        assert!((at.total - at.done - 1_500.0 - FILE_WORK).abs() < 1.0, "{at:?}");
        let mixed = History { files: 101, bytes: 9_000_000, stream_bytes: 3_000_000, read: Some(3_000_000) };
        let at = work(&backup(0, 1_500_000, 1_500_000), Some(&mixed)).unwrap();
        assert!((at.total - at.done - 1_500_000.0 - 101.0 * FILE_WORK).abs() < 1.0, "{at:?}");
    }

    /// Ctrl-Z and an hour of lunch made the rate a thousandth, and the end was days away.
    #[test]
    fn time_in_which_the_process_stood_still_does_not_count() {
        let start = Instant::now();
        let (mut rate, mut pulse) = (Rate::new(start, 0.0), Pulse::default());
        for second in 0..10 {
            rate.skip(pulse.beat(at(start, second * 1000)));
            rate.note(at(start, second * 1000), second as f64 * 100.0);
        }
        let back = at(start, 3_600_000);
        rate.skip(pulse.look(back));
        rate.note(at(start, 3_601_000), 1000.0);
        assert!((rate.at(at(start, 3_601_000)) - 100.0).abs() < 10.0, "{rate:?}");
        // A store that does not answer is another thing: nobody stood still.
        let mut slow = rate;
        for second in 3_601..3_661 {
            slow.skip(pulse.beat(at(start, second * 1000)));
        }
        assert!(slow.at(at(start, 3_661_000)) < 10.0, "{slow:?}");
    }
}
