//! Feeding a golden run through a session, and comparing.

use qwenc_runtime::engine::Backend;
use qwenc_runtime::image::Preprocessor;
use qwenc_runtime::order::sorted;
use qwenc_runtime::session::{Picture, Session};
use qwenc_runtime::vision::{Grid, pictures_of};

use crate::compare::{Difference, compare};
use crate::pictures::{OwnedPicture, pictures};
use crate::{GoldenError, GoldenFile, PositionReport, Report};

/// What passes. The default takes the golden file's own thresholds, and wants the largest logit to agree.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Instead of the file's smallest cosine.
    pub min_cosine: Option<f64>,
    /// Instead of the file's largest absolute difference, or in addition when it has none.
    pub max_abs: Option<f64>,
    /// Only report whether the largest logit agrees; for quantized weights, where near ties may go either way.
    pub ignore_argmax: bool,
    /// What makes patches of the run's pictures: the bundle's image processor. A run with patches needs none.
    pub preprocessor: Option<Preprocessor>,
}

/// Resets the session, feeds the golden run call by call, and compares every wanted row of logits.
///
/// # Errors
/// [`GoldenError`] when the run cannot be fed at all; rows that differ are in the report.
pub async fn verify_async<B: Backend>(
    session: &mut Session<B>,
    golden: &GoldenFile,
    options: &VerifyOptions,
) -> Result<Report, GoldenError> {
    let file = || golden.name().to_owned();
    let facts = session.vision().cloned();
    let pictures = match &facts {
        None if golden.images().is_empty() => Vec::new(),
        None => return Err(GoldenError::NoVision { file: file() }),
        Some(facts) => pictures(golden, facts, options.preprocessor.as_ref())?,
    };
    let mut unseen = pictures.as_slice();
    let bundle = session.facts().vocab_size;
    if usize::try_from(bundle) != Ok(golden.vocabulary()) {
        return Err(GoldenError::Vocabulary { file: file(), golden: golden.vocabulary(), bundle });
    }
    let mut report = Report {
        golden: file(),
        source: golden.source().map(str::to_owned),
        model: session.engine().manifest().model.name.clone(),
        adapter: session.engine().backend().name(),
        min_cosine: options.min_cosine.unwrap_or(golden.min_cosine()),
        max_abs: options.max_abs.or(golden.max_abs()),
        check_argmax: !options.ignore_argmax,
        positions: Vec::new(),
        worst_cosine: f64::NAN,
        worst_max_abs: f64::NAN,
        argmax_agreements: 0,
        failures: 0,
        passed: false,
    };
    let mut rows: Vec<(usize, PositionReport)> = Vec::new();
    let fail =
        |call: usize| move |source| GoldenError::Session { file: file(), call, source: Box::new(source) };
    session.reset().map_err(fail(0))?;
    let mut start = 0_usize;
    for (call, tokens) in golden.splits().iter().enumerate() {
        let end = start.saturating_add(*tokens);
        let ids = golden.ids().get(start..end).unwrap_or_default();
        let wanted = wanted_rows(golden, start, end);
        let seen = match &facts {
            Some(facts) => {
                let grids: Vec<Grid> = unseen.iter().map(OwnedPicture::grid).collect();
                pictures_of(ids, &grids, facts)
            }
            None => 0,
        };
        let (now, later) = unseen.split_at_checked(seen).unwrap_or((unseen, &[]));
        unseen = later;
        let now: Vec<Picture<'_>> = now.iter().map(OwnedPicture::as_picture).collect();
        let found = session.feed_pictures_async(ids, &now, &wanted).await.map_err(fail(call))?;
        for (row, logits) in wanted.iter().zip(&found) {
            let at = start + row;
            let expected = golden.rows().enumerate().filter(|(_, (position, _))| *position == at);
            rows.extend(expected.map(|(order, (_, row))| (order, judge(&report, at, compare(logits, row)))));
        }
        start = end;
    }
    if !unseen.is_empty() {
        let (images, unused) = (pictures.len(), unseen.len());
        return Err(GoldenError::UnusedImages { file: file(), images, unused });
    }
    report.positions = sorted(&rows, |a, b| a.0 < b.0).into_iter().map(|(_, row)| row).collect();
    Ok(report.finish())
}

/// [`verify_async`], waiting on this thread.
///
/// # Errors
/// As there.
#[cfg(feature = "native")]
pub fn verify<B: Backend>(
    session: &mut Session<B>,
    golden: &GoldenFile,
    options: &VerifyOptions,
) -> Result<Report, GoldenError> {
    pollster::block_on(verify_async(session, golden, options))
}

/// Rows of the call `start..end` that the golden file checks: ascending, each once, relative to the call.
fn wanted_rows(golden: &GoldenFile, start: usize, end: usize) -> Vec<usize> {
    let rows: Vec<usize> = golden
        .rows()
        .map(|(position, _)| position)
        .filter(|p| (start..end).contains(p))
        .map(|p| p - start)
        .collect();
    let mut rows = sorted(&rows, |a, b| a < b);
    rows.dedup();
    rows
}

fn judge(report: &Report, position: usize, difference: Difference) -> PositionReport {
    let Difference { cosine, max_abs, argmax, expected_argmax, argmax_agrees } = difference;
    // Comparisons with NaN are false: a row that is not all numbers fails.
    let passed = cosine >= report.min_cosine
        && report.max_abs.is_none_or(|limit| max_abs <= limit)
        && (argmax_agrees || !report.check_argmax);
    PositionReport { position, cosine, max_abs, argmax, expected_argmax, argmax_agrees, passed }
}
