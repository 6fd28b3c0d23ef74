//! Sorting, small where flash is.

/// Sorts by a key; equal ones in any order. Without `std` by a heap: the standard library's sort is faster, and takes two kilobytes of
/// flash for each type that is sorted.
pub(crate) fn by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    if cfg!(feature = "std") {
        items.sort_unstable_by_key(key);
    } else {
        by_heap(items, &mut key);
    }
}

fn by_heap<T, K: Ord>(items: &mut [T], key: &mut impl FnMut(&T) -> K) {
    for root in (0..items.len() / 2).rev() {
        sift(items, root, key);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift(&mut items[..end], 0, key);
    }
}

/// Lets an item sink to where none below it is larger.
fn sift<T, K: Ord>(items: &mut [T], mut at: usize, key: &mut impl FnMut(&T) -> K) {
    loop {
        let mut largest = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if child < items.len() && key(&items[child]) > key(&items[largest]) {
                largest = child;
            }
        }
        if largest == at {
            return;
        }
        items.swap(at, largest);
        at = largest;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_heap_sorts_as_the_standard_library_does() {
        let mut state = 1_u32;
        for length in 0..200 {
            let mut items: Vec<u32> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 27
                })
                .collect();
            let mut expected = items.clone();
            expected.sort_unstable();
            by_heap(&mut items, &mut |item| *item);
            assert_eq!(items, expected);
        }
    }
}
