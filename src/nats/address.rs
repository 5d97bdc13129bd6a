//! The address of a server, with the credentials that it wants.
//!
//! Guarantees that a message never shows a password or a token.

use async_nats::{ConnectOptions, ServerAddr};

use super::Trouble;
use crate::error::{Error, Result};

/// Where a server is, and who connects.
#[derive(Clone)]
pub struct Address {
    /// Without user, password or token.
    servers: Vec<String>,
    login: Option<Login>,
    creds: Option<String>,
}

/// What stands before the `@` of an address.
#[derive(Clone, PartialEq)]
enum Login {
    Password(String, String),
    Token(String),
}

impl Address {
    /// The servers at URLs that are separated by commas. `creds` is the contents of a file with credentials.
    ///
    /// Errors: `ERR_VALIDATION` for what no server can have as its address.
    pub fn new(urls: &str, creds: Option<String>) -> Result<Self> {
        let (mut servers, mut logins) = (Vec::new(), Vec::new());
        for url in urls.split(',') {
            let (server, login) = server_of(url.trim()).map_err(|why| invalid(urls, &why))?;
            servers.push(server);
            logins.push(login);
        }
        let login = logins.first().cloned().flatten();
        // The library sends one login to all servers. A raw comma in a password would make the rest of it an address, too.
        if logins.iter().flatten().any(|other| login.as_ref() != Some(other)) {
            return Err(invalid(urls, "the first address has not the user and password of the others"));
        }
        Ok(Address { servers, login, creds })
    }

    pub(super) fn servers(&self) -> Vec<&str> {
        self.servers.iter().map(String::as_str).collect()
    }

    /// The address without user, password or token.
    pub fn shown(&self) -> String {
        self.servers.join(",")
    }

    pub(super) fn options(&self) -> std::result::Result<ConnectOptions, Trouble> {
        let options = ConnectOptions::new().name("agentpm");
        let options = match self.login.clone() {
            Some(Login::Password(user, password)) => options.user_and_password(user, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
        match &self.creds {
            Some(creds) => options
                .credentials(creds)
                .map_err(|_| Trouble("the file with the credentials holds no JWT and seed of NATS".into())),
            None => Ok(options),
        }
    }
}

/// A server and the login that its URL holds, or why it is none.
fn server_of(url: &str) -> std::result::Result<(String, Option<Login>), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    if !matches!(scheme, "nats" | "tls") {
        return Err("it begins with neither nats:// nor tls://".into());
    }
    let (login, host) = match rest.rsplit_once('@') {
        Some((login, host)) => (Some(login_of(login)?), host),
        None => (None, rest),
    };
    let server = format!("{scheme}://{host}");
    let parsed: ServerAddr = server.parse().map_err(|e: std::io::Error| e.to_string())?;
    if parsed.host().is_empty() {
        return Err("it names no host".into());
    }
    Ok((server, login))
}

fn login_of(text: &str) -> std::result::Result<Login, String> {
    Ok(match text.split_once(':') {
        Some((user, password)) => Login::Password(decode(user)?, decode(password)?),
        None => Login::Token(decode(text)?),
    })
}

/// A text without the percent-encoding of a URL.
fn decode(text: &str) -> std::result::Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(match byte {
            b'%' => digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8).ok_or("a % has no two digits")?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "the user or the password is no UTF-8".into())
}

fn invalid(urls: &str, why: &str) -> Error {
    let shown = match urls.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => urls.to_owned(),
    };
    Error::validation(format!("{} is no address of a NATS server: {why}", crate::model::id::quoted(&shown))).hint(
        "an address is nats://HOST:PORT or tls://HOST:PORT; in a user or a password, write a comma as %2C, @ as %40, : as %3A and % as %25",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let shown = |url: &str| Address::new(url, None).unwrap().shown();
        assert_eq!(shown("nats://ada:secret@host:4222"), "nats://host:4222");
        assert_eq!(shown("nats://token@a:1, tls://token@b:2,c"), "nats://a:1,tls://b:2,nats://c");
        assert_eq!(shown("localhost"), "nats://localhost");
    }

    #[test]
    fn a_login_is_decoded_and_counts_for_all_servers() {
        let login = |url: &str| Address::new(url, None).unwrap().login;
        assert!(login("nats://a%3Ada:t%40p%2C%25@host") == Some(Login::Password("a:da".into(), "t@p,%".into())));
        assert!(login("nats://t0ken@a,nats://b") == Some(Login::Token("t0ken".into())));
        assert!(login("nats://a").is_none());
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secrets() {
        let cases = [
            ("nats://bob:top,secret@host", "is no address of a NATS server: NATS server URL is invalid: invalid port"),
            ("nats://bob:8080,secret@host", "the first address has not"),
            ("nats://ada:one@a,nats://ada:two@b", "the first address has not"),
            ("nats://bob:top%zz@host", "a % has no two digits"),
            ("http://localhost:4222", "it begins with neither nats:// nor tls://"),
            ("nats://localhost:99999", "invalid port"),
            ("nats://a,", "it names no host"),
        ];
        for (url, why) in cases {
            let refused = Address::new(url, None).err().expect("it is refused").message;
            assert!(refused.contains(why), "{url}: {refused}");
            assert!(
                !["top", "secret", "8080", "one", "two@"].iter().any(|secret| refused.contains(secret)),
                "{refused}"
            );
        }
    }
}
