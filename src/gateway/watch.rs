//! A read of a body ends in time, also if what comes is no body. ureq's limits begin anew with each read of the connection, so that
//! trailers, extensions of chunks or empty TLS records without end would hold one read of a body for ever.

use std::cell::Cell;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

thread_local! {
    /// When the read that this thread is in has to end. The reader of a body has no other way to its connection.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Reads from a body: it may take so long, whatever comes.
pub(super) fn within<T>(most: Duration, read: impl FnOnce() -> T) -> T {
    END.set(Instant::now().checked_add(most));
    let result = read();
    END.set(None);
    result
}

/// Puts the limit into each connection, above TLS.
#[derive(Debug)]
pub(super) struct Watch;

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Watched<In>>, Error> {
        Ok(chained.map(Watched))
    }
}

/// A connection with the limit.
#[derive(Debug)]
pub(super) struct Watched<T>(T);

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(shortened(timeout, END.get())?)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

fn shortened(timeout: NextTimeout, end: Option<Instant>) -> Result<NextTimeout, Error> {
    let Some(end) = end else { return Ok(timeout) };
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::Timeout(Timeout::RecvBody));
    }
    if *timeout.after <= left {
        return Ok(timeout);
    }
    Ok(NextTimeout { after: left.into(), reason: Timeout::RecvBody, ..timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_end_counts() {
        let day = Duration::from_secs(86_400);
        let timeout = NextTimeout { after: day.into(), reason: Timeout::Global, ..NextTimeout::default() };
        assert_eq!(shortened(timeout, None).unwrap(), timeout);
        let later = Instant::now() + 2 * day;
        assert_eq!(shortened(timeout, Some(later)).unwrap(), timeout);
        let sooner = shortened(timeout, Some(Instant::now() + day / 2)).unwrap();
        assert!(*sooner.after <= day / 2 && sooner.reason == Timeout::RecvBody);
        assert!(shortened(timeout, Some(Instant::now())).is_err());
        within(day, || assert!(END.get().is_some()));
        assert!(END.get().is_none());
    }
}
