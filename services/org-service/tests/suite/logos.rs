//! Logos: kept whole, or refused with the figures.

use crate::World;
use bytes::Bytes;
use clientele_api::org::{DeleteLogoRequest, GetLogoContentRequest, Organization, UpdateLogoRequest};
use clientele_testkit::{on_both_engines, reason};
use image::{ImageFormat, RgbImage};
use std::io::Cursor;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const BAKERY: &str = "workspaces/acme/organizations/bakery";

impl World {
    async fn put_logo(&self, content_type: &str, content: impl Into<Bytes>) -> Result<Organization, Status> {
        let request = UpdateLogoRequest {
            name: BAKERY.into(),
            content_type: content_type.into(),
            content: content.into(),
            ..Default::default()
        };
        let answer = self.organizations().update_logo(self.admin.request(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    fn files(&self) -> usize {
        let folders = std::fs::read_dir(self.logos.path()).unwrap();
        folders
            .map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count())
            .sum()
    }
}

/// The checksum of PNG's chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| {
        if crc & 1 == 1 {
            0xedb8_8320 ^ (crc >> 1)
        } else {
            crc >> 1
        }
    };
    !bytes
        .iter()
        .fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

fn picture(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn a_logo_is_kept_replaced_and_taken_away() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let get = || world.member.request(GetLogoContentRequest { name: BAKERY.into() });
        let none = world.organizations().get_logo_content(get()).await.unwrap_err();
        assert_eq!(
            (none.code(), reason(&none).as_str()),
            (Code::NotFound, "RESOURCE_NOT_FOUND")
        );

        let formats = [
            (ImageFormat::Png, "image/png"),
            (ImageFormat::Jpeg, "image/jpeg"),
            (ImageFormat::WebP, "image/webp"),
            (ImageFormat::Gif, "image/gif"),
        ];
        for (format, content_type) in formats {
            let bytes = picture(format, 64, 32);
            let logo = world.put_logo(content_type, bytes.clone()).await.unwrap().logo.unwrap();
            assert_eq!(
                (logo.content_type.as_str(), logo.width, logo.height, logo.size),
                (content_type, 64, 32, bytes.len() as i32)
            );
            let content = world
                .organizations()
                .get_logo_content(get())
                .await
                .unwrap()
                .into_inner();
            assert_eq!((content.content, content.logo), (Bytes::from(bytes), Some(logo)));
        }
        let version = world
            .put_logo("image/gif", picture(ImageFormat::Gif, 64, 32))
            .await
            .unwrap()
            .version;
        assert_eq!(version, 5, "the same logo again changes nothing");

        let delete = DeleteLogoRequest {
            name: BAKERY.into(),
            ..Default::default()
        };
        let without = world
            .organizations()
            .delete_logo(world.admin.request(delete.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((without.logo.as_ref(), without.version), (None, 6));
        let again = world
            .organizations()
            .delete_logo(world.admin.request(delete))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(again, without);
        assert!(world.organizations().get_logo_content(get()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn what_is_no_logo_is_refused_and_nothing_is_kept() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let png = picture(ImageFormat::Png, 100, 100);
        let mut wide = png.clone();
        wide[16..20].copy_from_slice(&20_000_u32.to_be_bytes());
        let checksum = crc32(&wide[12..29]).to_be_bytes();
        wide[29..33].copy_from_slice(&checksum);
        let truncated = png[..png.len() / 2].to_vec();
        let cases = [
            ("image/png", b"<svg/>".to_vec(), "IMAGE_INVALID"),
            ("image/png", truncated, "IMAGE_INVALID"),
            ("image/png", vec![7; 3 * 1024 * 1024], "IMAGE_INVALID"),
            ("image/jpeg", png.clone(), "IMAGE_INVALID"),
            ("image/png", wide.clone(), "IMAGE_INVALID"),
            ("image/bmp", png, "INVALID_FIELDS"),
            ("image/png", Vec::new(), "INVALID_FIELDS"),
        ];
        for (at, (content_type, content, expected)) in cases.into_iter().enumerate() {
            let status = world.put_logo(content_type, content).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, expected),
                "case {at}: {status:?}"
            );
        }
        let status = world.put_logo("image/png", wide).await.unwrap_err();
        let figures = status.get_details_error_info().unwrap().metadata;
        assert_eq!(
            (figures["width"].as_str(), figures["limit"].as_str()),
            ("20000", "4096")
        );
        let status = world.put_logo("image/png", vec![7; 3 * 1024 * 1024]).await.unwrap_err();
        let figures = status.get_details_error_info().unwrap().metadata;
        assert_eq!(
            (figures["limit"].as_str(), figures["size"].as_str()),
            ("2097152", "3145728")
        );
        assert_eq!(world.files(), 0);
    })
    .await;
}

#[tokio::test]
async fn validation_uploads_nothing() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let before = world.create_organization("bakery").await;
        let request = UpdateLogoRequest {
            name: BAKERY.into(),
            content_type: "image/png".into(),
            content: picture(ImageFormat::Png, 8, 8).into(),
            validate_only: true,
            ..Default::default()
        };
        let preview = world
            .organizations()
            .update_logo(world.admin.request(request))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(preview.logo.unwrap().width, 8);
        assert_eq!(world.files(), 0);
        let get = clientele_api::org::GetOrganizationRequest { name: BAKERY.into() };
        assert_eq!(
            world
                .organizations()
                .get_organization(world.member.request(get))
                .await
                .unwrap()
                .into_inner(),
            before
        );
    })
    .await;
}
