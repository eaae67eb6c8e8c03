//! Languages of the dashboard: ISO 639-1.

use clientele_api::error::Invalid;
use clientele_api::settings::TextDirection;
use std::fmt;

/// The 183 languages of ISO 639-1, each with all that means it: its code, its three-letter codes (ISO 639-2/T, which
/// are those of ISO 639-3, then 639-2/B), then withdrawn codes.
const LANGUAGES: &str = "
    aa/aar ab/abk ae/ave af/afr ak/aka am/amh an/arg ar/ara as/asm av/ava ay/aym az/aze ba/bak be/bel bg/bul bi/bis
    bm/bam bn/ben bo/bod/tib br/bre bs/bos ca/cat ce/che ch/cha co/cos cr/cre cs/ces/cze cu/chu cv/chv cy/cym/wel
    da/dan de/deu/ger dv/div dz/dzo ee/ewe el/ell/gre en/eng eo/epo es/spa et/est eu/eus/baq fa/fas/per ff/ful
    fi/fin fj/fij fo/fao fr/fra/fre fy/fry ga/gle gd/gla gl/glg gn/grn gu/guj gv/glv ha/hau he/heb/iw hi/hin ho/hmo
    hr/hrv/scr ht/hat hu/hun hy/hye/arm hz/her ia/ina id/ind/in ie/ile ig/ibo ii/iii ik/ipk io/ido is/isl/ice it/ita
    iu/iku ja/jpn jv/jav/jw ka/kat/geo kg/kon ki/kik kj/kua kk/kaz kl/kal km/khm kn/kan ko/kor kr/kau ks/kas ku/kur
    kv/kom kw/cor ky/kir la/lat lb/ltz lg/lug li/lim ln/lin lo/lao lt/lit lu/lub lv/lav mg/mlg mh/mah mi/mri/mao
    mk/mkd/mac ml/mal mn/mon mr/mar ms/msa/may mt/mlt my/mya/bur na/nau nb/nob nd/nde ne/nep ng/ndo nl/nld/dut
    nn/nno no/nor nr/nbl nv/nav ny/nya oc/oci oj/oji om/orm or/ori os/oss pa/pan pi/pli pl/pol ps/pus pt/por qu/que
    rm/roh rn/run ro/ron/rum/mo/mol ru/rus rw/kin sa/san sc/srd sd/snd se/sme sg/sag si/sin sk/slk/slo sl/slv sm/smo
    sn/sna so/som sq/sqi/alb sr/srp/sh/hbs/scc ss/ssw st/sot su/sun sv/swe sw/swa ta/tam te/tel tg/tgk th/tha ti/tir
    tk/tuk tl/tgl tn/tsn to/ton tr/tur ts/tso tt/tat tw/twi ty/tah ug/uig uk/ukr ur/urd uz/uzb ve/ven vi/vie vo/vol
    wa/wln wo/wol xh/xho yi/yid/ji yo/yor za/zha zh/zho/chi zu/zul
";

/// Those that are mostly written from right to left: in Arabic, Avestan, Hebrew or Thaana (CLDR: likelySubtags and scriptMetadata).
const RIGHT_TO_LEFT: [&str; 11] = ["ae", "ar", "dv", "fa", "he", "ks", "ps", "sd", "ug", "ur", "yi"];

/// A language of ISO 639-1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Language(&'static str);

impl Language {
    /// What holds where nobody chose.
    pub const ENGLISH: Self = Self("en");

    /// Reads a two-letter code, a three-letter code of the same language, or a regional form (`pt-BR`, `zh_Hans_CN`),
    /// which stands for its language.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let lower = text.to_ascii_lowercase();
        let mut subtags = lower.split(['-', '_']);
        let code = subtags.next().unwrap_or_default();
        let is_regional = subtags
            .all(|subtag| (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        match languages().find(|forms| forms.split('/').any(|form| form == code)) {
            Some(forms) if is_regional => Ok(Self(code_of(forms))),
            _ => Err(Invalid::new(format!(
                "must be a language of ISO 639-1, as in `{}`",
                nearest(code)
            ))),
        }
    }

    /// Its two-letter code.
    pub fn code(self) -> &'static str {
        self.0
    }

    /// Where its lines begin.
    pub fn direction(self) -> TextDirection {
        if RIGHT_TO_LEFT.contains(&self.0) {
            TextDirection::RightToLeft
        } else {
            TextDirection::LeftToRight
        }
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn languages() -> impl Iterator<Item = &'static str> {
    LANGUAGES.split_whitespace()
}

fn code_of(forms: &'static str) -> &'static str {
    forms.split('/').next().unwrap_or_default()
}

/// The language of which a code begins most like this; English if none does. The three-letter codes begin like the
/// languages' names, so `german` finds `de` by its `ger`.
fn nearest(text: &str) -> &'static str {
    let alike = |form: &str| form.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    let mut nearest = (Language::ENGLISH.code(), 0);
    for forms in languages() {
        let most = forms.split('/').map(alike).max().unwrap_or_default();
        if most > nearest.1 {
            nearest = (code_of(forms), most);
        }
    }
    nearest.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_form_means_one_language() {
        let mut seen = HashSet::new();
        for forms in languages() {
            let code = code_of(forms);
            assert_eq!(code.len(), 2);
            for form in forms.split('/') {
                assert!(seen.insert(form), "{form}");
                assert_eq!(Language::parse(form).unwrap().code(), code);
            }
        }
        assert_eq!(languages().count(), 183);
    }

    #[test]
    fn lines_begin_where_the_script_has_them() {
        let direction = |code| Language::parse(code).unwrap().direction();
        for code in RIGHT_TO_LEFT {
            assert_eq!(direction(code), TextDirection::RightToLeft, "{code}");
        }
        for code in ["en", "zh", "az", "ku", "tr", "ja"] {
            assert_eq!(direction(code), TextDirection::LeftToRight, "{code}");
        }
        assert_eq!(direction("iw"), TextDirection::RightToLeft);
    }

    #[test]
    fn other_forms_are_answered_as_the_code() {
        for (text, code) in [
            ("en", "en"),
            ("EN", "en"),
            ("eng", "en"),
            ("ger", "de"),
            ("deu", "de"),
            ("pt-BR", "pt"),
            ("pt_br", "pt"),
            ("zh-Hans-CN", "zh"),
            ("por-BR", "pt"),
            ("es-419", "es"),
            ("iw", "he"),
            ("in", "id"),
            ("ji", "yi"),
            ("sh", "sr"),
        ] {
            assert_eq!(Language::parse(text).unwrap().code(), code, "{text}");
        }
    }

    #[test]
    fn what_is_no_language_is_refused_with_the_nearest() {
        for (text, hint) in [
            ("", "en"),
            ("xx", "xh"),
            ("english", "en"),
            ("german", "de"),
            ("Spanish", "es"),
            ("qqq", "qu"),
            ("und", "ug"),
            ("en-", "en"),
            ("pt-BR.UTF-8", "pt"),
            ("de--AT", "de"),
            ("fr-überall", "fr"),
            (" en", "en"),
            ("日本語", "en"),
        ] {
            let Invalid(rule) = Language::parse(text).unwrap_err();
            assert!(rule.ends_with(&format!("`{hint}`")), "{text}: {rule}");
        }
    }
}
