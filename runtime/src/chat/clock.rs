//! Time: how long an answer took, and what day templates believe it is.

/// Where the standard library has no clock, someone must bring one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Seconds since some moment; never goes back.
    pub monotonic: fn() -> f64,
}

#[cfg(target_arch = "wasm32")]
static CLOCK: std::sync::OnceLock<Clock> = std::sync::OnceLock::new();

impl Clock {
    /// Makes it the clock of this process; the first one stays. Where the standard library has a clock, that one is used.
    pub fn install(self) {
        #[cfg(target_arch = "wasm32")]
        let _ = CLOCK.set(self);
    }
}

/// Seconds since some moment; 0 where there is no clock.
pub(super) fn seconds() -> f64 {
    #[cfg(not(target_arch = "wasm32"))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_secs_f64()
    }
    #[cfg(target_arch = "wasm32")]
    CLOCK.get().map_or(0.0, |clock| (clock.monotonic)())
}

/// Seconds since 1970. In browsers the templates' interpreter has a clock of its own.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn since_epoch() -> u64 {
    use std::time::SystemTime;
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
