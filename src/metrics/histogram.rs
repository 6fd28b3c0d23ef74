//! A distribution in buckets whose width grows with their values.

use core::fmt;
use core::time::Duration;

/// Buckets for each doubling: values are known to an eighth.
const STEPS: usize = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const BUCKETS: usize = STEPS * (64 - STEP_BITS as usize + 1);

/// How often which values were met. Values are known to an eighth of themselves; the sum and the largest are exact. Takes
/// 4 KiB, whatever it holds.
#[derive(Clone)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .field("max", &self.max)
            .finish()
    }
}

/// The bucket of a value.
const fn bucket(value: u64) -> usize {
    let bits = 64 - value.leading_zeros();
    if bits <= STEP_BITS {
        return value as usize;
    }
    let shift = bits - STEP_BITS - 1;
    (shift as usize + 1) * STEPS + ((value >> shift) as usize - STEPS)
}

/// The largest value of a bucket.
const fn top(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = (bucket / STEPS - 1) as u32;
    let low = ((STEPS + bucket % STEPS) as u64) << shift;
    low + ((1 << shift) - 1)
}

impl Histogram {
    /// Notes a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Notes a value that was met `times` times.
    #[inline]
    pub fn record_many(&mut self, value: u64, times: u64) {
        self.buckets[bucket(value)] += times;
        self.count += times;
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
        self.max = self.max.max(value);
    }

    #[inline]
    pub(crate) fn record_span(&mut self, span: Duration, times: u64) {
        self.record_many(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX), times);
    }

    /// How many values.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum; `u64::MAX` if it is larger.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest; 0 if there is none.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// Their mean; 0 if there is none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The value that a part of all (0 to 1) does not exceed, to an eighth: 0.99 for the 99th percentile. 0 if there is none.
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = part.clamp(0.0, 1.0) * self.count as f64;
        let mut met = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            met += count;
            if met > 0 && met as f64 >= wanted {
                return top(bucket).min(self.max);
            }
        }
        self.max
    }

    /// How many values are at most this large, to an eighth of it.
    pub fn count_up_to(&self, value: u64) -> u64 {
        let last = bucket(value);
        let last = if top(last) <= value { last + 1 } else { last };
        self.buckets[..last].iter().sum()
    }

    /// The values that came since an earlier state of the same histogram. The largest is that of all time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (bucket, before) in since.buckets.iter_mut().zip(&earlier.buckets) {
            *bucket = bucket.saturating_sub(*before);
        }
        since.count = self.count.saturating_sub(earlier.count);
        since.sum = self.sum.saturating_sub(earlier.sum);
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_that_is_close() {
        let mut values: alloc::vec::Vec<u64> = (0..4096).collect();
        for shift in 0..64 {
            values.extend([1 << shift, (1 << shift) - 1, (1 << shift) | 1]);
        }
        values.push(u64::MAX);
        for value in values {
            let bucket = bucket(value);
            assert!(bucket < BUCKETS, "{value}");
            assert!(top(bucket) >= value && top(bucket) - value <= value / 8, "{value}: {}", top(bucket));
            assert!(bucket == 0 || top(bucket - 1) < value, "{value}");
        }
    }

    #[test]
    fn quantiles_sums_and_differences() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.max(), histogram.count()), (0, 0, 0));
        for value in 1..=1000 {
            histogram.record(value);
        }
        let before = histogram.clone();
        for part in [0.01, 0.5, 0.9, 0.99] {
            let (exact, told) = (part * 1000.0, histogram.quantile(part) as f64);
            assert!(told >= exact && told <= exact * 1.125 + 1.0, "{part}: {told}");
        }
        assert_eq!((histogram.quantile(1.0), histogram.sum(), histogram.count()), (1000, 500_500, 1000));
        let below = histogram.count_up_to(500);
        assert!((437..=500).contains(&below), "{below}");
        histogram.record_many(7, 10);
        let since = histogram.since(&before);
        assert_eq!((since.count(), since.sum(), since.quantile(0.5)), (10, 70, 7));
        histogram.record(u64::MAX);
        assert_eq!((histogram.quantile(1.0), histogram.sum()), (u64::MAX, u64::MAX));
    }
}
