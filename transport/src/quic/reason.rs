//! What the ends of connections mean, for a person who has to mend it.

use quinn::{ConnectionError, TransportErrorCode};

use super::codes::CloseCode;

/// TLS alerts (RFC 8446, section 6) that say what is wrong with our side.
const ALERTS: &[(u8, &str)] = &[
    (40, "it refused the handshake"),
    (42, "it does not accept our certificate"),
    (43, "it does not accept our certificate"),
    (44, "our certificate is revoked: join the cluster again"),
    (45, "our certificate has expired: join the cluster again"),
    (46, "it does not accept our certificate"),
    (
        48,
        "our certificate is of another cluster, or our token is none that it has made",
    ),
    (49, "it denies us access"),
    (116, "it demands a certificate"),
    (
        120,
        "it speaks none of our protocol versions: upgrade the older of the two",
    ),
];

/// Why a connection failed or ended.
pub(super) fn connection_text(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "no sign of life within the time allowed".to_owned(),
        ConnectionError::LocallyClosed => "this side closed it".to_owned(),
        ConnectionError::Reset => {
            "the other side knows nothing of it: it was restarted, or has just closed it".to_owned()
        }
        ConnectionError::VersionMismatch => "the two sides speak no common version of QUIC".to_owned(),
        ConnectionError::CidsExhausted => "no connection ids are left".to_owned(),
        ConnectionError::ApplicationClosed(close) => match CloseCode::text(close.error_code) {
            Some(text) => text.to_owned(),
            None => format!("it was closed: {close}"),
        },
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(text) => text.to_owned(),
            None if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                "it takes no connection now".to_owned()
            }
            None => format!("it ended the connection: {close}"),
        },
        ConnectionError::TransportError(error) => format!("{error}"),
    }
}

/// Whether it is our certificate or version that the other side refuses: trying again soon does not help.
fn alert(code: TransportErrorCode) -> Option<&'static str> {
    let code = u64::from(code);
    let alert = u8::try_from(code.checked_sub(0x100)?).ok()?;
    ALERTS
        .iter()
        .find_map(|(known, text)| (*known == alert).then_some(*text))
}
