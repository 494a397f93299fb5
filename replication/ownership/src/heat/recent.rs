//! How often something happened lately, in twelve bytes.

use std::time::Duration;

/// A count over a sliding window, made of two fixed ones: the present one counts in full, the one
/// before for the part of it that the sliding one still covers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recent {
    /// The number of the present window.
    window: u32,
    current: u32,
    previous: u32,
}

impl Recent {
    /// It happened.
    pub fn count(&mut self, now: Duration, window: Duration) {
        *self = self.at(now, window);
        self.current = self.current.saturating_add(1);
    }

    /// How often it happened in the last `window`, about.
    pub fn value(&self, now: Duration, window: Duration) -> u32 {
        let Self { current, previous, .. } = self.at(now, window);
        let nanos = window.as_nanos().max(1);
        let covered = nanos - now.as_nanos() % nanos;
        let of_previous = u128::from(previous) * covered / nanos;
        current.saturating_add(u32::try_from(of_previous).unwrap_or(u32::MAX))
    }

    fn at(self, now: Duration, window: Duration) -> Self {
        let number = now.as_nanos() / window.as_nanos().max(1);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        match number.saturating_sub(self.window) {
            0 => self,
            1 => Self { window: number, current: 0, previous: self.current },
            _ => Self { window: number, current: 0, previous: 0 },
        }
    }
}
