//! The address of a server, with the credentials that it wants.
//!
//! Guarantees that a message never shows a password or a token.

use async_nats::ConnectOptions;

use super::Trouble;

/// Where a server is, and who connects.
#[derive(Clone)]
pub struct Address {
    url: String,
    creds: Option<String>,
}

impl Address {
    /// The server at a URL. `creds` is the contents of a file with credentials.
    pub fn new(url: String, creds: Option<String>) -> Self {
        Address { url, creds }
    }

    pub(super) fn servers(&self) -> Vec<&str> {
        self.url.split(',').map(str::trim).collect()
    }

    /// The address without user, password or token.
    pub fn shown(&self) -> String {
        let without = |url: &str| {
            let (scheme, rest) = url.trim().split_once("://").unwrap_or(("nats", url.trim()));
            format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default())
        };
        self.url.split(',').map(without).collect::<Vec<_>>().join(",")
    }

    pub(super) fn options(&self) -> Result<ConnectOptions, Trouble> {
        let options = ConnectOptions::new().name("agentpm");
        match &self.creds {
            Some(creds) => options
                .credentials(creds)
                .map_err(|_| Trouble("the file with the credentials holds no JWT and seed of NATS".into())),
            None => Ok(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let shown = |url: &str| Address::new(url.into(), None).shown();
        assert_eq!(shown("nats://ada:secret@host:4222"), "nats://host:4222");
        assert_eq!(shown("nats://a:1,tls://token@b:2"), "nats://a:1,tls://b:2");
        assert_eq!(shown("localhost"), "nats://localhost");
    }
}
