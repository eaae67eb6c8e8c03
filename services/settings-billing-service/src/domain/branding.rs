//! The colours of a dashboard.

use super::values::Broken;
use clientele_api::error::Invalid;
use clientele_api::settings as api;

/// The colours of a dashboard, each as in `#1a2b3c`. Empty: the dashboard's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branding {
    /// Of what is active.
    pub primary_color: String,
    /// Of what stands out beside that.
    pub accent_color: String,
    /// Of the ground.
    pub background_color: String,
    /// Of texts.
    pub text_color: String,
}

impl Branding {
    /// Reads the colours.
    pub fn parse(message: &api::Branding) -> Result<Self, Broken> {
        let mut broken = Broken::default();
        let mut read = |path, text: &str| broken.check(path, color(text)).unwrap_or_default();
        let branding = Self {
            primary_color: read(".primary_color", &message.primary_color),
            accent_color: read(".accent_color", &message.accent_color),
            background_color: read(".background_color", &message.background_color),
            text_color: read(".text_color", &message.text_color),
        };
        broken.finish(branding)
    }
}

impl From<&Branding> for api::Branding {
    fn from(branding: &Branding) -> Self {
        Self {
            primary_color: branding.primary_color.clone(),
            accent_color: branding.accent_color.clone(),
            background_color: branding.background_color.clone(),
            text_color: branding.text_color.clone(),
        }
    }
}

/// A colour in its long form, in lower case; empty stays empty.
fn color(text: &str) -> Result<String, Invalid> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let is_color = matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_color {
        Ok(long(digits))
    } else if text.is_empty() {
        Ok(String::new())
    } else {
        Err(Invalid::new(format!("must be a colour, as in `{}`", nearest(text))))
    }
}

fn long(digits: &str) -> String {
    let digits = digits.to_ascii_lowercase();
    match digits.len() {
        3 => digits
            .chars()
            .fold("#".to_owned(), |long, digit| format!("{long}{digit}{digit}")),
        _ => format!("#{digits}"),
    }
}

/// The colour of the digits that there are: filled up with 0; black, if they are few.
fn nearest(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(6).collect();
    match digits.len() {
        0..3 => "#000000".to_owned(),
        _ => long(&format!(
            "{digits:0<width$}",
            width = if digits.len() == 3 { 3 } else { 6 }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_answered_in_one_form() {
        for (text, color_of) in [
            ("", ""),
            ("#1a2b3c", "#1a2b3c"),
            ("#1A2B3C", "#1a2b3c"),
            ("#fA0", "#ffaa00"),
        ] {
            assert_eq!(color(text).unwrap(), color_of, "{text}");
        }
    }

    #[test]
    fn what_is_no_color_is_refused_with_the_nearest() {
        for (text, hint) in [
            ("1a2b3c", "#1a2b3c"),
            ("fff", "#ffffff"),
            ("#12345", "#123450"),
            ("#1234567", "#123456"),
            ("#12", "#000000"),
            ("red", "#000000"),
            ("rgb(1,2,3)", "#b12300"),
            ("#1a2b3c\0", "#1a2b3c"),
            ("#１２３", "#000000"),
        ] {
            let Invalid(rule) = color(text).unwrap_err();
            assert_eq!(rule, format!("must be a colour, as in `{hint}`"), "{text}");
        }
    }

    #[test]
    fn each_color_is_told_of() {
        let given = api::Branding {
            primary_color: "red".to_owned(),
            text_color: "#00".to_owned(),
            ..Default::default()
        };
        let broken = Branding::parse(&given).unwrap_err();
        let paths: Vec<&str> = broken.told().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [".primary_color", ".text_color"]);
    }
}
