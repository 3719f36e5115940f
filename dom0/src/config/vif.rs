//! `vif = [ '…' ]`: what `xl-network-configuration(5)` describes, as far as it means something
//! here.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use backends::host::MacAddress;
use backends::netback::Network;

use super::keys::nearest;
use super::rate::Rate;

/// The bridge of a network that names none.
pub const DEFAULT_BRIDGE: &str = "xenbr0";
/// Longest name of a bridge, as Linux has it.
const MAX_BRIDGE: usize = 15;
/// What an MTU may be.
const MTUS: core::ops::RangeInclusive<u16> = 68..=65_521;
/// Devices a domain may have of a kind, to be counted by hand.
const MAX_DEVID: u32 = 255;

/// Every key there is.
const KEYS: [&str; 14] = [
    "mac",
    "bridge",
    "ip",
    "rate",
    "mtu",
    "devid",
    "type",
    "model",
    "script",
    "vifname",
    "gatewaydev",
    "backend",
    "accel",
    "trusted",
];

/// One network of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VifSpec {
    /// Its address, if one was asked for.
    pub mac: Option<MacAddress>,
    /// What it is plugged into.
    pub bridge: String,
    /// The only addresses it may send from; none: any.
    pub ips: Vec<Network>,
    /// How much it may send.
    pub rate: Option<Rate>,
    /// The longest packet, in bytes, if one was asked for.
    pub mtu: Option<u16>,
    /// Its number, if one was asked for.
    pub devid: Option<u32>,
}

impl Default for VifSpec {
    fn default() -> Self {
        Self {
            mac: None,
            bridge: DEFAULT_BRIDGE.into(),
            ips: Vec::new(),
            rate: None,
            mtu: None,
            devid: None,
        }
    }
}

impl VifSpec {
    /// Reads a specification, and answers what is without effect in it, too.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let (mut spec, mut warnings) = (Self::default(), Vec::new());
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                format!("`{part}` is no key=value; write mac=…, bridge=… or ip=…")
            })?;
            if let Some(reason) = spec.set(key.trim(), value.trim())? {
                warnings.push(format!("`{}` is ignored: {reason}", key.trim()));
            }
        }
        Ok((spec, warnings))
    }

    /// Sets a key; answers why that has no effect, if it has none.
    fn set(&mut self, key: &str, value: &str) -> Result<Option<&'static str>, String> {
        match key {
            "mac" => self.mac = Some(mac(value)?),
            "bridge" => self.bridge = bridge(value)?,
            "ip" => self.ips = ips(value)?,
            "rate" => self.rate = Some(Rate::parse(value)?),
            "mtu" => self.mtu = Some(number(key, value, MTUS)?),
            "devid" => self.devid = Some(number(key, value, 0..=MAX_DEVID)?),
            "type" if matches!(value, "vif" | "netfront") => {}
            "type" => {
                return Err(format!(
                    "type `{value}` is for emulated cards; write type=vif"
                ));
            }
            "backend" if matches!(value, "0" | "Domain-0") => {}
            "backend" => {
                return Err(format!(
                    "there is no backend in `{value}`; leave `backend` out"
                ));
            }
            "script" | "vifname" | "gatewaydev" => return Ok(Some("dom0 has its own switch")),
            "model" | "accel" => return Ok(Some("there are no emulated cards")),
            "trusted" => return Ok(Some("the guest need not know")),
            other => {
                return Err(match nearest(other, KEYS) {
                    Some(meant) => format!("unknown key `{other}`; did you mean `{meant}`?"),
                    None => format!("unknown key `{other}`; keys are mac, bridge, ip, rate, mtu"),
                });
            }
        }
        Ok(None)
    }
}

/// Six bytes in hexadecimal, for one receiver.
pub fn mac(text: &str) -> Result<MacAddress, String> {
    let byte = |part: &str| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok())?;
    let bytes: Option<Vec<u8>> = text.split([':', '-']).map(byte).collect();
    let bytes = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    match bytes.map(MacAddress) {
        None => Err(format!(
            "`{text}` is no MAC address; write six bytes like 00:16:3e:12:34:56"
        )),
        Some(mac) if mac.is_group() || mac.0 == [0; 6] => Err(format!(
            "`{text}` is no address of one card; take one like 00:16:3e:12:34:56"
        )),
        Some(mac) => Ok(mac),
    }
}

fn bridge(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > MAX_BRIDGE || !text.chars().all(allowed) {
        return Err(format!(
            "`{}` is no bridge; take up to {MAX_BRIDGE} letters, digits or -_.",
            text.escape_debug()
        ));
    }
    Ok(text.into())
}

/// Addresses separated by blanks.
fn ips(text: &str) -> Result<Vec<Network>, String> {
    let ip = |word: &str| {
        word.parse().map_err(|_| {
            format!("`{word}` is no IP address; write one like 10.0.2.15, several with blanks")
        })
    };
    let ips: Vec<_> = text.split_whitespace().map(ip).collect::<Result<_, _>>()?;
    if ips.is_empty() {
        return Err("`ip` is empty; leave it out to allow all".to_string());
    }
    Ok(ips)
}

fn number<T>(key: &str, text: &str, range: core::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: core::str::FromStr + PartialOrd + core::fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    let (from, to) = (range.start(), range.end());
    number.ok_or_else(|| format!("`{key}` must be between {from} and {to}, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::VifSpec;

    #[test]
    fn every_key_is_understood() {
        let text = "mac=00:16:3E:00:00:02, bridge=internal0,ip=10.0.0.2 fd00::/64,rate=10Mb/s,\
            mtu=9000,devid=3,type=vif,backend=0";
        let (spec, warnings) = VifSpec::parse(text).unwrap();
        assert_eq!(spec.mac.unwrap().to_string(), "00:16:3e:00:00:02");
        assert_eq!((spec.bridge.as_str(), spec.ips.len()), ("internal0", 2));
        assert_eq!((spec.mtu, spec.devid), (Some(9000), Some(3)));
        assert_eq!(spec.rate.unwrap().bytes_per_second, 1_250_000);
        assert!(warnings.is_empty());
        let (spec, warnings) = VifSpec::parse("").unwrap();
        assert_eq!((spec, warnings.len()), (VifSpec::default(), 0));
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let (_, warnings) = VifSpec::parse("script=vif-route,model=e1000").unwrap();
        assert_eq!(
            warnings,
            [
                "`script` is ignored: dom0 has its own switch",
                "`model` is ignored: there are no emulated cards"
            ]
        );
    }

    #[test]
    fn mistakes_name_the_remedy() {
        for (text, words) in [
            (
                "mac=00:16:3e:00:00",
                "`00:16:3e:00:00` is no MAC address; write six bytes",
            ),
            (
                "mac=00:16:3e:00:00:0g",
                "`00:16:3e:00:00:0g` is no MAC address",
            ),
            (
                "mac=01:00:5e:00:00:01",
                "`01:00:5e:00:00:01` is no address of one card",
            ),
            (
                "mac=00:00:00:00:00:00",
                "`00:00:00:00:00:00` is no address of one card",
            ),
            ("bridge=a/b", "`a/b` is no bridge"),
            ("bridge=", "`` is no bridge"),
            ("ip=10.0.0", "`10.0.0` is no IP address"),
            ("ip=", "`ip` is empty"),
            (
                "rate=fast",
                "`fast` is no rate; write one like 10Mb/s or 1MB/s@20ms",
            ),
            ("mtu=10", "`mtu` must be between 68 and 65521, not `10`"),
            ("type=ioemu", "type `ioemu` is for emulated cards"),
            ("backend=net", "there is no backend in `net`"),
            ("bidge=x", "unknown key `bidge`; did you mean `bridge`?"),
            ("xenbr0", "`xenbr0` is no key=value"),
        ] {
            let error = VifSpec::parse(text).unwrap_err();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }
}
