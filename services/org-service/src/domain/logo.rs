//! Logos: images that are proven to be images before they are kept.

use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::{Error, Result, Violations, org as api};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::Cursor;

/// In bytes.
const MAX_SIZE: usize = 2 * 1024 * 1024;
/// In pixels.
const MAX_SIDE: u32 = 4096;
/// What decoding may take: the largest picture (4,096² pixels of 8 bytes) and as much again to work with.
const MAX_MEMORY: u64 = 256 * 1024 * 1024;

/// What is known of a logo.
#[derive(Debug, Clone, PartialEq)]
pub struct Logo {
    /// What kind of image it is.
    pub content_type: ContentType,
    /// In pixels.
    pub width: i32,
    /// In pixels.
    pub height: i32,
    /// In bytes.
    pub size: i32,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
}

/// The kinds of image that a logo can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// `image/png`.
    Png,
    /// `image/jpeg`.
    Jpeg,
    /// `image/webp`.
    Webp,
    /// `image/gif`.
    Gif,
}

impl ContentType {
    /// Reads it as it travels and is stored.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "image/png" => Ok(Self::Png),
            "image/jpeg" => Ok(Self::Jpeg),
            "image/webp" => Ok(Self::Webp),
            "image/gif" => Ok(Self::Gif),
            _ => Err(Invalid::new(
                "must be `image/png`, `image/jpeg`, `image/webp` or `image/gif`",
            )),
        }
    }

    /// As it travels and is stored.
    pub fn as_str(self) -> &'static str {
        self.format().to_mime_type()
    }

    fn format(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Webp => ImageFormat::WebP,
            Self::Gif => ImageFormat::Gif,
        }
    }
}

impl Logo {
    /// Proves that the bytes are an image of this type within the limits of a logo, by decoding it (of an animation the
    /// first frame). This takes tens of milliseconds: not for async threads.
    pub fn inspect(content_type: &str, content: &[u8]) -> Result<Self> {
        let content_type = read_fields(content_type, content)?;
        let size = content.len();
        if size > MAX_SIZE {
            let refusal = refuse(format!("the image has {size} bytes; a logo has at most {MAX_SIZE}"));
            return Err(refusal.with("limit", MAX_SIZE).with("size", size));
        }
        check_format(content_type, content)?;
        if content_type == ContentType::Jpeg && is_cut_off(content) {
            return Err(refuse("the image ends before its end-of-image marker".to_owned()).with("size", size));
        }
        let (width, height) = decode(content_type, content)?;
        Ok(Self {
            content_type,
            width: to_i32(width)?,
            height: to_i32(height)?,
            size: to_i32(size)?,
            sha256: Sha256::digest(content).into(),
        })
    }
}

/// A SHA-256 as it travels, and as the file of the bytes is called.
pub fn hex(sha256: &[u8]) -> String {
    sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_fields(content_type: &str, content: &[u8]) -> Result<ContentType> {
    let mut violations = Violations::new();
    let content_type = violations.check("content_type", ContentType::parse(content_type));
    if content.is_empty() {
        violations.add("content", "must be the bytes of an image");
    }
    violations.finish(content_type)
}

fn check_format(said: ContentType, content: &[u8]) -> Result<()> {
    let found = image::guess_format(content).ok();
    if found == Some(said.format()) {
        return Ok(());
    }
    let found = found.map_or("unknown", |format| format.to_mime_type());
    let said = said.as_str();
    Err(refuse(format!("the image is said to be {said}, its bytes are {found}")).with("format", found))
}

/// Decoding does not tell: it fills up what a JPEG lacks. No end-of-image marker after the last scan begins does.
fn is_cut_off(jpeg: &[u8]) -> bool {
    let last = |marker: [u8; 2]| jpeg.windows(2).rposition(|pair| pair == marker);
    let (end_of_image, start_of_scan) = (last([0xff, 0xd9]), last([0xff, 0xda]));
    end_of_image < start_of_scan
}

fn decode(content_type: ContentType, content: &[u8]) -> Result<(u32, u32)> {
    let damaged = |cause: &dyn fmt::Display| {
        let format = content_type.as_str();
        refuse(format!("the bytes can't be decoded as {format}: {cause}"))
            .with("format", format)
            .with("size", content.len())
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(content), content_type.format());
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| damaged(&error))?;

    let (width, height) = decoder.dimensions();
    if ![width, height].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        let refusal = refuse(format!(
            "the image has {width} × {height} pixels; a logo has sides of 1 to {MAX_SIDE}"
        ));
        return Err(refusal
            .with("limit", MAX_SIDE)
            .with("width", width)
            .with("height", height));
    }
    limits
        .reserve(decoder.total_bytes())
        .and_then(|()| decoder.set_limits(limits))
        .and_then(|()| DynamicImage::from_decoder(decoder))
        .map_err(|error| damaged(&error).with("width", width).with("height", height))?;
    Ok((width, height))
}

fn refuse(message: String) -> Error {
    Error::new(ErrorReason::ImageInvalid, message)
}

/// The limits above keep every figure far below.
fn to_i32(figure: impl TryInto<i32, Error: fmt::Display>) -> Result<i32> {
    figure.try_into().map_err(Error::internal)
}

impl From<&Logo> for api::Logo {
    fn from(logo: &Logo) -> Self {
        Self {
            content_type: logo.content_type.as_str().to_owned(),
            width: logo.width,
            height: logo.height,
            size: logo.size,
            sha256: hex(&logo.sha256),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::gif::GifEncoder;
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    use image::{ExtendedColorType, Frame, ImageEncoder, RgbImage, RgbaImage};

    const ALL: [ContentType; 4] = [ContentType::Png, ContentType::Jpeg, ContentType::Webp, ContentType::Gif];

    fn encode(content_type: ContentType, width: u32, height: u32) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(picture)
            .write_to(&mut bytes, content_type.format())
            .unwrap();
        bytes.into_inner()
    }

    fn reason(content_type: ContentType, content: &[u8]) -> ErrorReason {
        Logo::inspect(content_type.as_str(), content).unwrap_err().reason()
    }

    #[test]
    fn the_four_types_are_accepted_and_described() {
        for content_type in ALL {
            let content = encode(content_type, 60, 40);
            let logo = Logo::inspect(content_type.as_str(), &content).unwrap();
            assert_eq!((logo.content_type, logo.width, logo.height), (content_type, 60, 40));
            assert_eq!(logo.size as usize, content.len());
            let digest: [u8; 32] = Sha256::digest(&content).into();
            assert_eq!(logo.sha256, digest);
            let message = api::Logo::from(&logo);
            assert_eq!(
                (message.sha256.len(), message.content_type.as_str()),
                (64, content_type.as_str())
            );
        }
    }

    #[test]
    fn an_unknown_type_and_no_bytes_are_field_violations() {
        let error = Logo::inspect("image/svg+xml", b"").unwrap_err();
        assert_eq!(error.reason(), ErrorReason::InvalidFields);
        assert_eq!(error.violations().len(), 2);
    }

    #[test]
    fn what_is_no_image_or_another_type_than_said_is_refused() {
        for said in ALL {
            assert_eq!(reason(said, b"<svg></svg>"), ErrorReason::ImageInvalid);
            assert_eq!(reason(said, &[0]), ErrorReason::ImageInvalid);
            for real in ALL.into_iter().filter(|real| *real != said) {
                let error = Logo::inspect(said.as_str(), &encode(real, 8, 8)).unwrap_err();
                assert_eq!(error.reason(), ErrorReason::ImageInvalid);
                assert!(error.message().contains(real.as_str()), "{error}");
            }
        }
    }

    #[test]
    fn a_truncated_image_is_refused() {
        for content_type in ALL {
            let content = encode(content_type, 64, 64);
            for length in [
                12,
                content.len() / 4,
                content.len() / 2,
                content.len() - content.len() / 10,
            ] {
                assert_eq!(
                    reason(content_type, &content[..length]),
                    ErrorReason::ImageInvalid,
                    "{content_type:?} cut to {length} of {}",
                    content.len()
                );
            }
        }
    }

    #[test]
    fn sides_are_limited() {
        for content_type in ALL {
            for (width, height) in [(4096, 1), (1, 4096)] {
                let content = encode(content_type, width, height);
                Logo::inspect(content_type.as_str(), &content).unwrap();
            }
            for (width, height) in [(4097, 1), (1, 4097)] {
                let content = encode(content_type, width, height);
                assert_eq!(reason(content_type, &content), ErrorReason::ImageInvalid);
            }
        }
    }

    #[test]
    fn the_largest_square_is_accepted() {
        let mut content = Vec::new();
        PngEncoder::new_with_quality(&mut content, CompressionType::Fast, FilterType::NoFilter)
            .write_image(&vec![0; 4096 * 4096], 4096, 4096, ExtendedColorType::L8)
            .unwrap();
        let logo = Logo::inspect("image/png", &content).unwrap();
        assert_eq!((logo.width, logo.height), (4096, 4096));
    }

    #[test]
    fn the_sides_are_checked_before_decoding() {
        // Widens the picture in its header only: its data would not decode, so the refusal came before that.
        let mut content = encode(ContentType::Png, 8, 8);
        content[16..20].copy_from_slice(&20_000_u32.to_be_bytes());
        let checksum = crc32(&content[12..29]);
        content[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = Logo::inspect("image/png", &content).unwrap_err();
        assert_eq!(error.reason(), ErrorReason::ImageInvalid);
        assert!(error.message().contains("20000 × 8"), "{error}");
    }

    #[test]
    fn a_picture_without_pixels_is_refused() {
        let mut content = encode(ContentType::Gif, 8, 8);
        content[6..10].fill(0);
        assert_eq!(reason(ContentType::Gif, &content), ErrorReason::ImageInvalid);
    }

    #[test]
    fn the_size_is_limited() {
        let mut content = encode(ContentType::Png, 8, 8);
        content.resize(MAX_SIZE + 1, 0);
        let error = Logo::inspect("image/png", &content).unwrap_err();
        assert_eq!(error.reason(), ErrorReason::ImageInvalid);
        assert!(error.message().contains("2097153"), "{error}");
    }

    #[test]
    fn the_first_frame_of_an_animation_is_decoded() {
        let mut content = Vec::new();
        let frames = (0..3).map(|shade| Frame::new(RgbaImage::from_pixel(10, 20, image::Rgba([shade, 0, 0, 255]))));
        GifEncoder::new(&mut content).encode_frames(frames).unwrap();
        let logo = Logo::inspect("image/gif", &content).unwrap();
        assert_eq!((logo.width, logo.height), (10, 20));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
        !bytes
            .iter()
            .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }
}
