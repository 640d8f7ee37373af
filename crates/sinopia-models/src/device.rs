//! What computes. It is chosen once, where weights are opened; everything after that runs where its tensors are.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A kind of device, by the name that users give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The processor.
    #[default]
    Cpu,
}

impl DeviceKind {
    /// Every kind.
    pub const ALL: [Self; 1] = [Self::Cpu];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }

    /// The device itself.
    pub fn device(self) -> Device {
        match self {
            Self::Cpu => Device::Cpu,
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeviceKind {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownDevice`].
    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| Error::UnknownDevice {
            name: name.to_owned(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_their_names() {
        for kind in DeviceKind::ALL {
            assert_eq!(kind.to_string().parse::<DeviceKind>().unwrap(), kind);
        }
        let error = "cuda".parse::<DeviceKind>().unwrap_err();
        assert_eq!(error.to_string(), "there is no device `cuda`; there is cpu");
        assert!(error.is_bad_input() && DeviceKind::default().device().is_cpu());
    }
}
