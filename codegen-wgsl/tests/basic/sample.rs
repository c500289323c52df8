//! The three kernels that choose a token, each alone on both GPUs. The whole of them is held to the runtime's reference by
//! the compiler's tests.

use qwenc_codegen_wgsl::sample::{self, PARAMETER_WORDS, SampleParams, Scratch};
use qwenc_codegen_wgsl::{BufferKey, Elem, View};
use qwenc_ir::Dim;

use crate::device::{Device, Random, on_every_target};

/// Sixteen workgroups and a part of one.
const VOCABULARY: usize = 16 * 1024 + 333;
/// Words in front of the candidates.
const HEADER: usize = 4;
/// What the kernels call a score that can never be chosen.
const DROPPED: f32 = -2.0e38;

/// Words of the parameters, by place.
const GREEDY: usize = 0;
const INVERSE_TEMPERATURE: usize = 1;
const TOP_K: usize = 2;
const TOP_P: usize = 3;
const REPETITION: usize = 5;
const INVERSE_REPETITION: usize = 6;
const PRESENCE: usize = 7;

pub(crate) fn params(vocabulary: usize) -> SampleParams {
    let view = |buffer: u32, elem, shape: Vec<Dim>| View::dense(BufferKey(buffer), elem, shape);
    let all = || vec![Dim::from(vocabulary)];
    let one = || vec![Dim::constant(1)];
    let shapes = Scratch::shapes(u32::try_from(vocabulary).unwrap());
    let scratch = |buffer, (elem, shape)| view(buffer, elem, shape);
    SampleParams {
        logits: view(0, Elem::F32, all()),
        sampling: view(1, Elem::U32, vec![Dim::from(PARAMETER_WORDS)]),
        counts: view(2, Elem::U32, all()),
        scratch: Scratch {
            scores: scratch(3, shapes.scores),
            groups: scratch(4, shapes.groups),
            candidates: scratch(5, shapes.candidates),
            best: scratch(6, shapes.best),
        },
        token: view(7, Elem::U32, one()),
        input_id: view(8, Elem::I32, one()),
    }
}

/// No filter, no penalty, temperature 1, and what `change` makes of that.
fn words(change: &[(usize, u32)]) -> Vec<u32> {
    let mut words = vec![0; PARAMETER_WORDS];
    for at in [INVERSE_TEMPERATURE, TOP_P, REPETITION, INVERSE_REPETITION] {
        words[at] = 1.0_f32.to_bits();
    }
    for (at, word) in change {
        words[*at] = *word;
    }
    words
}

/// The largest score of every 256, and the sum of weights relative to it.
fn groups(scores: &[f32], inverse_temperature: f32) -> Vec<[f32; 2]> {
    let group = |scores: &[f32]| {
        let largest = scores.iter().copied().fold(DROPPED, f32::max);
        let kept = scores.iter().filter(|x| **x >= -1.0e38);
        let sum: f64 = kept.map(|x| f64::from((x - largest) * inverse_temperature).exp()).sum();
        [largest, sum as f32]
    };
    padded(scores).chunks(256).map(group).collect()
}

/// Scores as they lie in memory.
fn padded(scores: &[f32]) -> Vec<f32> {
    let mut padded = scores.to_vec();
    padded.resize(scores.len().next_multiple_of(1024), DROPPED);
    padded
}

/// The memory of these candidates, of which `count` were found.
fn listed(params: &SampleParams, scores: &[f32], tokens: &[usize], count: usize) -> Vec<u32> {
    let largest = scores.iter().copied().fold(DROPPED, f32::max);
    let mass: f64 = scores.iter().map(|x| f64::from(x - largest).exp()).sum();
    let mut words = vec![u32::try_from(count).unwrap(), largest.to_bits(), (mass as f32).to_bits(), 0];
    words.extend(tokens.iter().flat_map(|token| [u32::try_from(*token).unwrap(), scores[*token].to_bits()]));
    words.resize(params.scratch.candidates.shape[0].as_usize().unwrap(), 0xDEAD_BEEF);
    words
}

fn noise(seed: u64) -> Vec<f32> {
    Random::new(seed).vec(VOCABULARY).into_iter().map(|x| 8.0 * x).collect()
}

/// Memory before the second kernel: scores, their groups, and no candidate.
fn scanned(params: &SampleParams, scores: &[f32], change: &[(usize, u32)]) -> Device {
    let mut device = Device::new(&[]);
    device.put(&params.sampling, words(change).into_iter());
    device.put_f32(&params.scratch.scores, &padded(scores));
    device.put_f32(&params.scratch.groups, groups(scores, 1.0).as_flattened());
    device.poison(&params.scratch.candidates);
    device.poison(&params.scratch.best);
    let first = View { shape: vec![Dim::constant(1)], ..params.scratch.candidates.clone() };
    device.put(&first, [0].into_iter());
    device
}

#[test]
fn scan_penalises_and_sums() {
    let params = params(VOCABULARY);
    let mut logits = noise(3);
    let mut counts = vec![0_u32; VOCABULARY];
    // In the prompt; in the answer twice; in both.
    for (at, count) in [(5, 1 << 31), (6, 2), (1023, (1 << 31) | 1), (VOCABULARY - 1, 1)] {
        counts[at] = count;
        counts[VOCABULARY / 2 + at.min(100)] = count;
    }
    for (at, odd) in
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 3.4e38, -3.4e38].into_iter().enumerate()
    {
        logits[2048 + 300 * at] = odd;
    }
    let (repetition, presence) = (1.25_f32, 0.5_f32);
    let score = |(logit, count): (&f32, &u32)| {
        if logit.is_nan() || *logit <= -1.0e38 {
            return DROPPED;
        }
        let mut x = logit.min(1.0e38);
        if *count != 0 {
            x = if x < 0.0 { x * repetition } else { x / repetition };
        }
        if count & 0x7FFF_FFFF != 0 {
            x -= presence;
        }
        x.clamp(-1.0e38, 1.0e38) + 0.0
    };
    let scores = padded(&logits.iter().zip(&counts).map(score).collect::<Vec<f32>>());
    let mut start = Device::new(&[]);
    start.put(
        &params.sampling,
        words(&[
            (INVERSE_TEMPERATURE, 0.8_f32.to_bits()),
            (REPETITION, repetition.to_bits()),
            (INVERSE_REPETITION, repetition.recip().to_bits()),
            (PRESENCE, presence.to_bits()),
        ])
        .into_iter(),
    );
    start.put_f32(&params.logits, &logits);
    start.put(&params.counts, counts.into_iter());
    let written = [&params.scratch.scores, &params.scratch.groups, &params.scratch.candidates];
    written.into_iter().for_each(|view| start.poison(view));
    let kernel = sample::scan(&start.symbols, &params).unwrap();
    on_every_target(|target| {
        let mut device = start.clone();
        device.run(target, &kernel, &written);
        for (at, (found, want)) in device.get(&params.scratch.scores).iter().zip(&scores).enumerate() {
            assert!((found - want).abs() <= 1e-6 * want.abs(), "score {at} is {found}, expected {want}");
        }
        let want = groups(&scores, 0.8);
        for (at, (found, want)) in
            device.get(&params.scratch.groups).iter().zip(want.as_flattened()).enumerate()
        {
            assert!((found - want).abs() <= 3e-6 * want.abs(), "group word {at} is {found}, expected {want}");
        }
        assert_eq!(device.words(&params.scratch.candidates)[0], 0);
    });
}

#[test]
fn narrow_keeps_what_may_be_chosen() {
    let params = params(VOCABULARY);
    let mut scores = noise(4);
    // Ties at the largest score, in other workgroups.
    (scores[9000], scores[700], scores[VOCABULARY - 1]) = (9.0, 9.0, 8.5);
    let mut order: Vec<usize> = (0..VOCABULARY).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let weight = |token: &usize| f64::from(scores[*token]).exp();
    let (mut mass, needed) = (0.0, 0.01 * order.iter().map(weight).sum::<f64>());
    let heaviest = order.iter().take_while(|token| {
        mass += weight(token);
        mass < needed
    });
    let heaviest = heaviest.count() + 1;
    assert!(heaviest > 4);
    for (what, wanted, change) in [
        ("top-k", 40, vec![(TOP_K, 40)]),
        ("top-p", heaviest, vec![(TOP_P, 0.01_f32.to_bits())]),
        ("both", 7, vec![(TOP_K, 7), (TOP_P, 0.9_f32.to_bits())]),
    ] {
        let start = scanned(&params, &scores, &change);
        let kernel = sample::narrow(&start.symbols, &params).unwrap();
        on_every_target(|target| {
            let mut device = start.clone();
            device.run(target, &kernel, &[&params.scratch.candidates, &params.scratch.best]);
            let words = device.words(&params.scratch.candidates);
            let count = words[0] as usize;
            assert!((wanted..=512).contains(&count), "{what}: {count} candidates");
            assert_eq!(words[1], scores[order[0]].to_bits());
            let mut found = Vec::new();
            for pair in words[HEADER..].chunks(2).take(count) {
                assert_eq!(pair[1], scores[pair[0] as usize].to_bits());
                found.push(pair[0] as usize);
            }
            found.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
            // Whatever their number: they are the largest.
            assert_eq!(found, order[..count], "{what}");
        });
    }
}

/// The two tokens that have nearly all of the mass are neighbours: largest scores of groups alone do not prove it.
#[test]
fn narrow_trusts_the_mass_of_groups() {
    let params = params(VOCABULARY);
    let mut scores = noise(7);
    (scores[700], scores[701]) = (22.0, 21.5);
    let start = scanned(&params, &scores, &[(TOP_P, 0.95_f32.to_bits())]);
    let kernel = sample::narrow(&start.symbols, &params).unwrap();
    on_every_target(|target| {
        let mut device = start.clone();
        device.run(target, &kernel, &[&params.scratch.candidates, &params.scratch.best]);
        let words = device.words(&params.scratch.candidates);
        let count = words[0] as usize;
        assert!((2..100).contains(&count), "{count} candidates");
        let found: Vec<u32> = words[HEADER..].chunks(2).take(count).map(|pair| pair[0]).collect();
        assert!(found.contains(&700) && found.contains(&701), "{found:?}");
        let mass = f32::from_bits(words[2]);
        assert!((1.6065..1.6075).contains(&mass), "{mass}");
    });
}

#[test]
fn narrow_finds_the_best_of_every_chunk() {
    let params = params(VOCABULARY);
    let mut scores = noise(5);
    (scores[1030], scores[2000]) = (9.0, 9.0);
    scores[3072..4096].fill(DROPPED);
    let start = scanned(&params, &scores, &[(GREEDY, 1)]);
    let kernel = sample::narrow(&start.symbols, &params).unwrap();
    let best = |(chunk, scores): (usize, &[f32])| {
        let largest = scores.iter().copied().fold(DROPPED, f32::max);
        let at = scores.iter().position(|x| *x == largest && *x > DROPPED);
        [largest.to_bits(), at.map_or(u32::MAX, |at| u32::try_from(1024 * chunk + at).unwrap())]
    };
    let want: Vec<[u32; 2]> = scores.chunks(1024).enumerate().map(best).collect();
    assert_eq!(want[1][1], 1030);
    on_every_target(|target| {
        let mut device = start.clone();
        device.run(target, &kernel, &[&params.scratch.candidates, &params.scratch.best]);
        assert_eq!(device.words(&params.scratch.best), want.as_flattened());
    });
}

#[test]
fn choose_takes_the_best_and_counts_it() {
    let params = params(VOCABULARY);
    let chunks = VOCABULARY.div_ceil(1024);
    let mut scores = noise(6);
    // With nearly all of the mass.
    scores[777] = 30.0;
    // Without filters the best of chunks decide, whatever the scores are; with them the candidates do.
    let mut best = vec![[(-3.0_f32).to_bits(), 5], [2.5_f32.to_bits(), 1999], [2.5_f32.to_bits(), 2100]];
    best.resize(chunks, [DROPPED.to_bits(), u32::MAX]);
    let none = vec![[DROPPED.to_bits(), u32::MAX]; chunks];
    // Twice as many, and more, than are ranked; and more than there is room for: then all scores are looked at again.
    let few = listed(&params, &scores, &[3, 12, 777, 4000], 4);
    let many: Vec<usize> = (0..1100).map(|n| 15 * n + 12).collect();
    let many = listed(&params, &scores, &many, many.len());
    let all = listed(&params, &scores, &[], 8193);
    let half = 0.5_f32.to_bits();
    for (what, change, best, candidates, wanted) in [
        ("greedy", (GREEDY, 1), &best, &few, Some(1999)),
        ("nothing to choose", (GREEDY, 1), &none, &few, None),
        ("the first of the candidates", (TOP_K, 1), &best, &few, Some(777)),
        ("the first of many candidates", (TOP_K, 1), &best, &many, Some(777)),
        ("the first of all", (TOP_K, 1), &best, &all, Some(777)),
        ("most of the candidates' mass", (TOP_P, half), &best, &few, Some(777)),
        ("most of the mass of many", (TOP_P, half), &best, &many, Some(777)),
        ("most of the mass of all", (TOP_P, half), &best, &all, Some(777)),
    ] {
        let mut start = scanned(&params, &scores, &[change]);
        start.put(&params.scratch.best, best.as_flattened().to_vec().into_iter());
        start.put(&params.scratch.candidates, candidates.clone().into_iter());
        let mut counts = vec![0_u32; VOCABULARY];
        (counts[1999], counts[777]) = (1 << 31, 4);
        start.put(&params.counts, counts.clone().into_iter());
        start.poison(&params.token);
        start.poison(&params.input_id);
        let kernel = sample::choose(&start.symbols, &params).unwrap();
        if let Some(token) = wanted {
            counts[token] += 1;
        }
        let token = wanted.map_or(u32::MAX, |token| u32::try_from(token).unwrap());
        on_every_target(|target| {
            let mut device = start.clone();
            device.run(target, &kernel, &[&params.counts, &params.token, &params.input_id]);
            assert_eq!(device.words(&params.token), [token], "{what}");
            assert_eq!(device.words(&params.input_id), [if wanted.is_some() { token } else { 0 }], "{what}");
            assert_eq!(device.words(&params.counts), counts, "{what}");
        });
    }
}
