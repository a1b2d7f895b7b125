//! A device's certificate that ends soon: without it the device is cut off from its servers, and nobody can help it
//! from afar.

use super::{Agent, exposed};
use crate::gateway::identity;
use crate::tuf::Time;

const DAY: i64 = 86_400;
/// Long enough for people to act.
const SOON: i64 = 30 * DAY;

impl Agent {
    /// When the device's certificate ends to be valid, where there is one.
    pub fn certificate_end(&self) -> Option<Time> {
        identity::expiry(&self.settings.identity()?.0)
    }

    /// What to say of it today, where there is something.
    pub fn certificate_warning(&self) -> Option<String> {
        let (certificate, _) = self.settings.identity()?;
        warning(self.certificate_end()?, self.now().ok()?)
            .map(|text| format!("{}: {text}", certificate.display()))
    }

    /// What a person should change on this device.
    pub(super) fn warnings(&self) -> Vec<String> {
        let network = self.settings.network.warning().map(str::to_string);
        let keys = exposed::exposed(&self.settings).into_iter();
        network.into_iter().chain(keys.map(|(key, why)| format!("{}: {why}", key.display()))).collect()
    }

    /// Says it once a day.
    pub(super) fn warn_of_certificate(&self) {
        let now = super::clock();
        if self.memory.warned.get().is_some_and(|last| (0..DAY).contains(&(now - last))) {
            return;
        }
        if let Some(text) = self.certificate_warning() {
            log::warn!("{text}");
            self.memory.warned.set(Some(now));
        }
    }
}

fn warning(end: Time, now: i64) -> Option<String> {
    let left = end.0 - now;
    if left <= 0 {
        return Some(format!(
            "the certificate expired at {end}, and servers refuse it; provision the device again"
        ));
    }
    let days = left / DAY;
    (left < SOON).then(|| format!("the certificate expires in {days} days, at {end}; renew it before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_before_the_end() {
        let end = Time(2_000_000_000);
        assert_eq!(warning(end, end.0 - SOON), None);
        let soon = warning(end, end.0 - SOON + 1).unwrap();
        assert!(soon.contains("in 29 days, at 2033-05-18T03:33:20Z"), "{soon}");
        assert!(warning(end, end.0 - 1).unwrap().contains("in 0 days"));
        assert!(warning(end, end.0).unwrap().contains("expired at"));
    }
}
