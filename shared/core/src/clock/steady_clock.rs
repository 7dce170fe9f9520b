//! A time of the process's own, which is never set.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Clock, SystemClock, Timestamp};

/// The clock of a process. It begins at a given moment and counts the time that passes, so it never goes back and
/// never jumps, whatever happens to the machine's clock. It is a hundredth slower or faster than that while it
/// differs from its reference: the machine's clock or, after [`SteadyClock::follow`], that of a database. So an hour
/// is made up for in four days, and meanwhile a minute is at most 0.6 s longer or shorter.
#[derive(Debug)]
pub struct SteadyClock(Mutex<Readings>);

#[derive(Debug)]
struct Readings {
    pace: Pace,
    read_at: Instant,
    /// What the reference told, and when; `None`: the machine's clock is the reference.
    followed: Option<(Timestamp, Instant)>,
}

impl SteadyClock {
    /// A clock at which it is `now`.
    pub fn starting_at(now: Timestamp) -> Self {
        let pace = Pace { now: nanos(now), behind: nanos(SystemClock.now()) - nanos(now) };
        Self(Mutex::new(Readings { pace, read_at: Instant::now(), followed: None }))
    }

    /// Follows a clock that several machines read, at which it is `time` at present, instead of this machine's.
    pub fn follow(&self, time: Timestamp) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        if readings.followed.is_none() {
            readings.pace.behind = nanos(time) - readings.pace.now;
        }
        readings.followed = Some((time, at));
    }
}

#[async_trait]
impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let (now, set) = {
            let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let at = Instant::now();
            let passed = at.saturating_duration_since(readings.read_at);
            readings.read_at = at;
            let reference = match readings.followed {
                Some((time, told_at)) => time + at.saturating_duration_since(told_at),
                None => SystemClock.now(),
            };
            readings.pace.advance(passed, reference)
        };
        if let Some(seconds) = set {
            tracing::warn!(
                seconds,
                "the clock was set; this process keeps its own time and approaches the new one slowly"
            );
        }
        now
    }

    fn world_time(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A time that approaches another one. Everything is in nanoseconds; moments are since 1970.
#[derive(Debug)]
struct Pace {
    now: i64,
    /// How far `now` was behind the reference at the last reading.
    behind: i64,
}

/// The most that a clock differs from the true length of a time: one part in so many.
const SLOWNESS: i64 = 100;

/// A reference that moves by more than this against the time that passed was set: a second.
const SET: i64 = 1_000_000_000;

impl Pace {
    /// Moves on by the time that has `passed`, a little less or more to approach `reference`. Also returns by how
    /// many seconds the reference was set since the last reading, if it was.
    fn advance(&mut self, passed: Duration, reference: Timestamp) -> (Timestamp, Option<i64>) {
        let passed = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        let counted = self.now.saturating_add(passed);
        let behind = nanos(reference).saturating_sub(counted);
        let moved = behind.saturating_sub(self.behind);
        let most = passed / SLOWNESS;
        let correction = behind.clamp(-most, most);
        self.now = counted.saturating_add(correction);
        self.behind = behind - correction;
        let set = (moved.abs() > SET).then_some(moved / SET);
        (Timestamp::from_millis(self.now / 1_000_000), set)
    }
}

fn nanos(moment: Timestamp) -> i64 {
    moment.as_millis().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ManualClock;

    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A machine whose clock a test sets, and the time of a process on it.
    struct Machine {
        clock: ManualClock,
        pace: Pace,
    }

    impl Machine {
        fn new() -> Self {
            let clock = ManualClock::default();
            let pace = Pace { now: nanos(clock.now()), behind: 0 };
            Self { clock, pace }
        }

        fn pass(&mut self, time: Duration) -> (Timestamp, Option<i64>) {
            self.clock.advance(time);
            self.pace.advance(time, self.clock.now())
        }
    }

    #[test]
    fn a_clock_that_is_set_moves_no_time_and_is_told_once() {
        for (set, seconds) in [(-1, -3600), (1, 3600)] {
            let mut machine = Machine::new();
            let (before, _) = machine.pass(SECOND);
            if set < 0 {
                machine.clock.set_back(HOUR);
            } else {
                machine.clock.advance(HOUR);
            }
            let (after, told) = machine.pass(SECOND);
            let counted = after.since(before);
            assert!(counted >= SECOND * 99 / 100 && counted <= SECOND * 101 / 100, "{counted:?}");
            assert_eq!(told, Some(seconds));
            assert_eq!(machine.pass(SECOND).1, None);
        }
    }

    #[test]
    fn an_hour_is_made_up_for_in_a_hundred() {
        for back in [true, false] {
            let mut machine = Machine::new();
            if back {
                machine.clock.set_back(HOUR);
            } else {
                machine.clock.advance(HOUR);
            }
            let mut last = machine.pass(Duration::ZERO).0;
            for _ in 0..100 {
                let (now, _) = machine.pass(HOUR);
                let counted = now.since(last);
                assert!(counted >= HOUR * 99 / 100 && counted <= HOUR * 101 / 100, "{counted:?}");
                last = now;
            }
            assert_eq!(last, machine.clock.now());
            assert_eq!(machine.pass(HOUR).0, machine.clock.now());
        }
    }

    /// Most readings are microseconds apart.
    #[test]
    fn short_times_add_up() {
        let mut machine = Machine::new();
        let begun = machine.clock.now();
        let mut now = begun;
        for reading in 1..=1_000_000 {
            let passed = Duration::from_nanos(999);
            (now, _) = machine.pace.advance(passed, begun + passed * reading);
        }
        assert!(now.since(begun + Duration::from_millis(998)) <= Duration::from_millis(2), "{now:?}");
    }

    #[test]
    fn a_database_is_followed_instead_of_the_machine() {
        let ahead = SystemClock.now() + HOUR;
        let clock = SteadyClock::starting_at(ahead);
        clock.follow(ahead);
        let now = clock.now();
        assert!(now >= ahead && now.since(ahead) < HOUR / 2);
        assert!(clock.world_time() < ahead);
    }
}
