//! Who calls. Everything behind this layer has a [`Who`].

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::response::Response;
use chat::{Caller, ErrorCode, Permission};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri};

use crate::app::App;
use crate::around::{Next, Within};
use crate::error::ApiError;
use crate::keys::{Identity, Key};
use crate::middleware::trace::Seen;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The authenticated caller of a request.
#[derive(Debug, Clone)]
pub(crate) struct Who(Identity);

impl Who {
    /// The caller of a request that has passed this layer.
    pub(crate) fn of(parts: &Parts) -> Result<Self, ApiError> {
        Self::among(&parts.extensions)
    }

    /// The same, before the request is taken apart.
    pub(crate) fn of_request(request: &Request) -> Result<Self, ApiError> {
        Self::among(request.extensions())
    }

    fn among(extensions: &Extensions) -> Result<Self, ApiError> {
        let who = extensions.get::<Self>().cloned();
        who.ok_or_else(|| ApiError::internal("a route that needs a caller stands outside the auth layer"))
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    pub(crate) fn key(&self) -> &Key {
        &self.0.key
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0
    }

    /// Whether a browser's token was given.
    pub(crate) fn is_token(&self) -> bool {
        self.0.token_ends.is_some()
    }

    /// Refuses what the key's `may` lacks.
    pub(crate) fn must(&self, permission: Permission) -> Result<(), ApiError> {
        if self.caller().may.has(permission) {
            return Ok(());
        }
        let message = format!("this needs a key with `may = [\"{}\"]`", permission.as_str());
        Err(ApiError::new(ErrorCode::NotPermitted, message))
    }

    /// Refuses browsers' tokens.
    pub(crate) fn must_be_key(&self) -> Result<(), ApiError> {
        if self.is_token() {
            return Err(ApiError::new(
                ErrorCode::NotPermitted,
                "this needs a key: a browser's token may not",
            ));
        }
        Ok(())
    }
}

impl FromRequestParts<App> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        Self::of(parts)
    }
}

/// Lets nobody through who is not known.
pub(crate) async fn auth<S: Within>(
    app: App,
    mut request: Request,
    next: Next<S>,
) -> Result<Response, ApiError> {
    if app.keys.is_open() && !is_loopback(request.uri(), request.headers()) {
        let message =
            "an open gateway answers only to loopback names: configure keys to be called from elsewhere";
        return Err(ApiError::new(ErrorCode::ForbiddenHost, message));
    }
    let identity = app.keys.identify(credential(request.headers())?).await?;
    let seen = Seen { tenant: identity.caller.tenant.clone(), key: Arc::clone(&identity.caller.key_name) };
    request.extensions_mut().insert(Who(identity));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(seen);
    Ok(response)
}

/// Lets only admins through; stands behind [`auth`].
pub(crate) async fn admin<S: Within>((): (), request: Request, next: Next<S>) -> Result<Response, ApiError> {
    if !Who::of_request(&request)?.caller().admin {
        return Err(ApiError::new(ErrorCode::AdminOnly, "this needs a key with `admin = true`"));
    }
    Ok(next.run(request).await)
}

/// The one credential that was given, if any. Which of several was meant is not guessed: whoever stands between may have looked at
/// another one.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let bearers = headers.get_all(AUTHORIZATION).iter().map(bearer);
    let keys = headers.get_all(API_KEY).iter().map(|value| Ok(readable(value)?.trim()));
    let mut given: Option<&str> = None;
    for one in bearers.chain(keys) {
        let one = one?;
        if given.is_some_and(|other| other != one) {
            return Err(ApiError::new(ErrorCode::InvalidKey, "several different keys were sent: send one"));
        }
        given = Some(one);
    }
    Ok(given)
}

fn bearer(value: &HeaderValue) -> Result<&str, ApiError> {
    let value = readable(value)?;
    let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        let message = "send the key as `Authorization: Bearer <key>`";
        return Err(ApiError::new(ErrorCode::InvalidKey, message));
    }
    Ok(key.trim())
}

fn readable(value: &HeaderValue) -> Result<&str, ApiError> {
    value.to_str().map_err(|_| ApiError::new(ErrorCode::InvalidKey, "the key is not valid"))
}

/// Whether the request was addressed to this machine by a name that no other site can take: `localhost` or a loopback address.
fn is_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    // HTTP/2 has the host in the URI; where both are given, both must be good.
    let named = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    let mut hosts = uri.authority().map(http::uri::Authority::as_str).into_iter().chain(named).peekable();
    hosts.peek().is_some() && hosts.all(is_loopback_name)
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || is_port(port) => name,
            _ => return false,
        },
        None => match host.find(':') {
            Some(colon) if is_port(host.get(colon..).unwrap_or_default()) => {
                host.get(..colon).unwrap_or_default()
            }
            Some(_) => return false,
            None => host,
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_few() {
        for good in
            ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1", "127.3.2.1:1", "[::1]", "[::1]:80"]
        {
            assert!(is_loopback_name(good), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "127.0.0.1:x",
            "[::1",
            "[::2]",
            "0.0.0.0",
            "localhost:80:80",
            "[::1]x",
            "127.1",
            "::1",
            "128.0.0.1",
        ] {
            assert!(!is_loopback_name(bad), "{bad}");
        }
    }

    #[test]
    fn both_names_of_the_host_count() {
        let mut headers = HeaderMap::new();
        assert!(!is_loopback(&Uri::from_static("/v1"), &headers));
        assert!(is_loopback(&Uri::from_static("http://localhost/v1"), &headers));
        headers.insert(HOST, "evil.example".parse().unwrap());
        assert!(!is_loopback(&Uri::from_static("http://localhost/v1"), &headers));
    }
}
