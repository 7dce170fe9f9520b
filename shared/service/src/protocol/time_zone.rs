//! The time zone in which `schedule` shows times.

use jiff::tz::TimeZone;

/// `TZ` names no time zone.
#[derive(Debug, thiserror::Error)]
#[error("TZ is {name:?}, which is not a valid time zone; write one such as Asia/Shanghai, UTC or CST-8")]
pub struct UnknownTimeZone {
    /// The value of `TZ`.
    pub name: String,
    /// What is wrong.
    #[source]
    pub source: jiff::Error,
}

/// The zone that the environment variable `TZ` names; if it names none, the reference's Asia/Shanghai.
///
/// `:UTC` counts as not set: AWS Lambda sets it in every function, so the operator did not choose it. `UTC` does
/// count.
pub fn time_zone(tz: Option<&str>) -> Result<TimeZone, UnknownTimeZone> {
    let name = match tz {
        None | Some("" | ":UTC") => "Asia/Shanghai",
        Some(tz) => tz.strip_prefix(':').unwrap_or(tz),
    };
    TimeZone::get(name)
        .or_else(|error| TimeZone::posix(name).map_err(|_| error))
        .map_err(|source| UnknownTimeZone { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn zones_are_named_or_shanghai() {
        for (tz, offset) in [
            (None, 8),
            (Some(""), 8),
            (Some(":UTC"), 8),
            (Some("UTC"), 0),
            (Some("Asia/Tokyo"), 9),
            (Some(":Asia/Tokyo"), 9),
            (Some("CST-8"), 8),
        ] {
            let zone = time_zone(tz).unwrap();
            assert_eq!(zone.to_offset(Timestamp::UNIX_EPOCH).seconds(), offset * 3600, "{tz:?}");
        }
        let said = time_zone(Some("Mars/Olympus")).unwrap_err().to_string();
        assert!(said.contains("Mars/Olympus"), "{said}");
    }
}
