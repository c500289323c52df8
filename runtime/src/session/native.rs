//! The session's reads, waiting on this thread.

use super::{Picture, Positions, Session, SessionError};
use crate::engine::Backend;
use crate::sampling::SamplingParams;

impl<B: Backend> Session<B> {
    /// [`Session::logits_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn logits(&mut self, row: u32) -> Result<Vec<f32>, SessionError> {
        pollster::block_on(self.logits_async(row))
    }

    /// [`Session::sample_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn sample(&mut self, params: &SamplingParams) -> Result<u32, SessionError> {
        pollster::block_on(self.sample_async(params))
    }

    /// [`Session::sample_batch_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn sample_batch(&mut self, params: &SamplingParams, count: usize) -> Result<Vec<u32>, SessionError> {
        pollster::block_on(self.sample_batch_async(params, count))
    }

    /// [`Session::feed_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn feed(
        &mut self,
        ids: &[i32],
        positions: Positions<'_>,
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>, SessionError> {
        pollster::block_on(self.feed_async(ids, positions, wanted))
    }

    /// [`Session::feed_pictures_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn feed_pictures(
        &mut self,
        ids: &[i32],
        pictures: &[Picture<'_>],
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>, SessionError> {
        pollster::block_on(self.feed_pictures_async(ids, pictures, wanted))
    }
}
