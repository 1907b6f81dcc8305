//! What a limit in seconds comes to on a machine that is slow, or busy with other tests.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How often a fixed piece of work is done, and how long that takes where the limits hold as they stand.
const TIMES: u64 = 4_000_000;
const QUICK: Duration = Duration::from_millis(40);

/// This limit, as many times longer as this machine needs longer for a fixed piece of work now. Never shorter.
///
/// It is for what has to be *soon*: a limit that a design names, on a machine that has nothing else to do.
#[must_use]
pub fn soon(limit: Duration) -> Duration {
    let began = Instant::now();
    let mut sum = 0_u64;
    for n in 0..TIMES {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(n));
    }
    black_box(sum);
    limit.mul_f64((began.elapsed().as_secs_f64() / QUICK.as_secs_f64()).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_shortened_and_stays_one() {
        let limit = Duration::from_secs(1);
        let here = soon(limit);
        assert!(here >= limit && here < 100 * limit, "{here:?}");
    }
}
