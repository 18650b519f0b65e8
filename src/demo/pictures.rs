//! Pictures of what the demo shop sells, one for each category. Nobody answers at the shop's address, so where a mail
//! is shown on our own pages they are put into it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::shop::Shop;

/// Where the catalog and the samples of the starter set say that pictures are.
const PLACE: &str = "https://shop.example/images/";

/// A mail's HTML with the demo shop's pictures inside; other addresses stay as they are.
pub fn with_pictures(html: &str) -> Cow<'_, str> {
    let mut pieces = html.split(PLACE);
    let (Some(first), true) = (pieces.next(), html.contains(PLACE)) else { return Cow::Borrowed(html) };
    let mut shown = first.to_owned();
    for piece in pieces {
        let end = piece.find(['"', '\'', ')', '?', ' ', '<']).unwrap_or(piece.len());
        match picture(&piece[..end]) {
            Some(png) => {
                shown.push_str("data:image/png;base64,");
                STANDARD.encode_string(png, &mut shown);
                shown.push_str(&piece[end..]);
            }
            None => {
                shown.push_str(PLACE);
                shown.push_str(piece);
            }
        }
    }
    Cow::Owned(shown)
}

/// The PNG of a product's picture, by the file's name in the catalog.
fn picture(file: &str) -> Option<&'static [u8]> {
    let products = &Shop::get().ok()?.catalog.products;
    let product = products.iter().find(|product| product.image_url.strip_prefix(PLACE) == Some(file))?;
    drawn(&product.category)
}

macro_rules! drawings {
    ($($category:literal),*) => {
        pub(super) fn drawn(category: &str) -> Option<&'static [u8]> {
            match category {
                $($category => Some(include_bytes!(concat!("../../demo/pictures/", $category, ".png"))),)*
                _ => None,
            }
        }
    };
}

drawings!["bath", "children", "garden", "gifts", "kitchen", "living", "office", "outdoor"];
