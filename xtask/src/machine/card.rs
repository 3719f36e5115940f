//! The host's network cards, as users name them and as QEMU wants them.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};

/// What `--net` takes.
const FORMS: &str = "user[,hostfwd=tcp:127.0.0.1:PORT-ADDRESS:PORT][,mtu=N] or hub=N[,mtu=N]";

/// A virtio network card, and what it is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    network: Network,
    /// The longest packet that it says its network carries, if it says so.
    mtu: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Network {
    /// QEMU's user network, with its own words such as `hostfwd=…`.
    User(Vec<String>),
    /// A hub, to which all of the host's cards of this number are plugged.
    Hub(u16),
}

impl Card {
    /// Reads `user[,hostfwd=…]…[,mtu=N]` or `hub=N[,mtu=N]`.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self> {
        let kind = text.split(',').next().unwrap_or_default();
        let mut mtu = None;
        let mut words = Vec::new();
        for word in text.split(',').skip(1) {
            match word.split_once('=') {
                Some(("mtu", value)) => mtu = Some(number(text, value, 68, 65_521)?),
                Some((key, _)) if !key.is_empty() => words.push(word.to_owned()),
                _ => bail!("--net {text}: `{word}` is no KEY=VALUE; write {FORMS}"),
            }
        }
        let network = match kind.split_once('=') {
            None if kind == "user" => Network::User(words),
            Some(("hub", value)) => {
                let first = words.first().map_or("", String::as_str);
                ensure!(
                    words.is_empty(),
                    "--net {text}: a hub has no `{first}`; write {FORMS}"
                );
                Network::Hub(number(text, value, 0, u16::MAX)?)
            }
            _ => bail!("--net {text}: there is no network `{kind}`; write {FORMS}"),
        };
        Ok(Self { network, mtu })
    }

    /// QEMU's arguments for the host's card number `index`.
    pub(super) fn arguments(&self, index: usize) -> [String; 4] {
        let network = match &self.network {
            Network::User(words) => format!("user,id=net{index}{}", joined(words)),
            Network::Hub(number) => format!("hubport,id=net{index},hubid={number}"),
        };
        // Nobody boots from the network: without its ROM the firmware is done sooner.
        let mut device = format!(
            "virtio-net-pci,netdev=net{index},mac=52:54:00:12:34:{:02x},disable-legacy=on,romfile=",
            (0x56 + index) & 0xff
        );
        if let Some(mtu) = self.mtu {
            device += &format!(",host_mtu={mtu}");
        }
        ["-netdev".into(), network, "-device".into(), device]
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.network {
            Network::User(words) => write!(f, "user{}", joined(words))?,
            Network::Hub(number) => write!(f, "hub={number}")?,
        }
        self.mtu.map_or(Ok(()), |mtu| write!(f, ",mtu={mtu}"))
    }
}

/// A number in its bounds.
fn number(text: &str, value: &str, least: u16, most: u16) -> Result<u16> {
    let found = value.parse().ok().filter(|n| (least..=most).contains(n));
    found.with_context(|| {
        format!("--net {text}: `{value}` must be a number from {least} to {most}; write {FORMS}")
    })
}

/// Words behind another one.
fn joined(words: &[String]) -> String {
    words.iter().map(|word| format!(",{word}")).collect()
}

#[cfg(test)]
mod tests {
    use super::Card;

    #[test]
    fn a_cards_own_words_go_to_qemu() {
        let text = "user,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22,net=10.0.2.0/24";
        let card = Card::parse(text).unwrap();
        assert_eq!(card.to_string(), text);
        assert!(card.arguments(0)[1].starts_with("user,id=net0,hostfwd="));
        assert_eq!(Card::parse("user").unwrap().arguments(1)[1], "user,id=net1");
        assert!(!card.arguments(0)[3].contains("host_mtu"));
    }

    #[test]
    fn two_cards_meet_at_a_hub_and_say_its_mtu() {
        let card = Card::parse("hub=3,mtu=9000").unwrap();
        assert_eq!(card.to_string(), "hub=3,mtu=9000");
        let [_, network, _, device] = card.arguments(1);
        assert_eq!(network, "hubport,id=net1,hubid=3");
        assert!(device.ends_with(",host_mtu=9000"));
        let card = Card::parse("user,mtu=1400,restrict=on").unwrap();
        assert_eq!(card.to_string(), "user,restrict=on,mtu=1400");
        assert_eq!(card.arguments(0)[1], "user,id=net0,restrict=on");
    }

    #[test]
    fn mistakes_name_the_remedy() {
        for (text, words) in [
            ("", "--net : there is no network ``; write user["),
            ("tap", "--net tap: there is no network `tap`; write user["),
            ("user=1", "--net user=1: there is no network `user=1`"),
            ("hub", "--net hub: there is no network `hub`"),
            ("hub=x", "--net hub=x: `x` must be a number from 0 to 65535"),
            (
                "hub=1,mtu=60",
                "--net hub=1,mtu=60: `60` must be a number from 68 to 65521",
            ),
            (
                "hub=1,hostfwd=x",
                "--net hub=1,hostfwd=x: a hub has no `hostfwd=x`",
            ),
            ("user,9000", "--net user,9000: `9000` is no KEY=VALUE"),
            ("user,", "--net user,: `` is no KEY=VALUE"),
        ] {
            let error = Card::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }
}
