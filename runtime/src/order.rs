//! Sorting with little code: the library's sorts are there once for every type and order, this one is there once.

/// The places of `count` things in their order: `before(a, b)` when the thing at `a` must come before that at `b`. Equal things
/// stay as they are.
#[must_use]
pub fn order(count: usize, before: &mut dyn FnMut(usize, usize) -> bool) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    let mut merged = Vec::with_capacity(count);
    let mut width = 1;
    while width < count {
        merged.clear();
        for pair in places.chunks(width.saturating_mul(2)) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([first, rest @ ..], [other, others @ ..]) = (left, right) {
                if before(*other, *first) {
                    merged.push(*other);
                    right = others;
                } else {
                    merged.push(*first);
                    left = rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        std::mem::swap(&mut places, &mut merged);
        width = width.saturating_mul(2);
    }
    places
}

/// Items in their order: `before(a, b)` when `a` must come before `b`. Equal items stay as they are.
#[must_use]
pub fn sorted<T: Clone>(items: &[T], before: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut compare = |a: usize, b: usize| items.get(a).zip(items.get(b)).is_some_and(|(a, b)| before(a, b));
    order(items.len(), &mut compare).into_iter().filter_map(|at| items.get(at).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::sorted;

    #[test]
    fn as_the_library_sorts() {
        let mut seed = 1_u32;
        for count in (0..40).chain([1000]) {
            let items: Vec<(u32, usize)> = (0..count)
                .map(|at| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 28, at)
                })
                .collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(key, _)| *key);
            assert_eq!(sorted(&items, |a, b| a.0 < b.0), expected);
        }
    }
}
