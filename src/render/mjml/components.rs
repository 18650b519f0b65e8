//! What MJML 4 consists of: its components with the attributes each may have and what may stand inside, from the
//! reference of mjml 4.18. Left out is `mj-include`, which is replaced by what it names before this is asked.

/// A component; `attributes` and `children` are names with spaces between.
pub(super) struct Component {
    pub name: &'static str,
    /// Whether HTML and text stand inside instead of components.
    pub text: bool,
    pub children: &'static str,
    pub attributes: &'static str,
}

impl Component {
    pub fn children(&self) -> impl Iterator<Item = &'static str> {
        self.children.split_whitespace()
    }

    pub fn attributes(&self) -> impl Iterator<Item = &'static str> {
        self.attributes.split_whitespace()
    }
}

pub(super) fn component(name: &str) -> Option<&'static Component> {
    COMPONENTS.iter().find(|it| it.name == name)
}

/// What every component of the body may have.
pub(super) const EVERYWHERE: [&str; 2] = ["mj-class", "css-class"];

#[rustfmt::skip]
pub(super) const COMPONENTS: &[Component] = &[
    Component { name: "mjml", text: false, children: "mj-head mj-body", attributes: "dir lang owa" },
    Component { name: "mj-head", text: false, children: "mj-attributes mj-breakpoint mj-font mj-html-attributes mj-preview mj-style mj-title mj-raw", attributes: "" },
    Component { name: "mj-attributes", text: false, children: "", attributes: "" },
    Component { name: "mj-breakpoint", text: true, children: "", attributes: "width" },
    Component { name: "mj-font", text: false, children: "", attributes: "href name" },
    Component { name: "mj-html-attributes", text: false, children: "mj-selector", attributes: "" },
    Component { name: "mj-selector", text: false, children: "mj-html-attribute", attributes: "path" },
    Component { name: "mj-html-attribute", text: true, children: "", attributes: "name" },
    Component { name: "mj-preview", text: true, children: "", attributes: "" },
    Component { name: "mj-style", text: true, children: "", attributes: "inline" },
    Component { name: "mj-title", text: true, children: "", attributes: "" },
    Component { name: "mj-body", text: false, children: "mj-raw mj-section mj-wrapper mj-hero", attributes: "background-color width" },
    Component { name: "mj-wrapper", text: false, children: "mj-hero mj-raw mj-section", attributes: "background-color background-position background-position-x background-position-y background-repeat background-size background-url border border-bottom border-left border-radius border-right border-top direction full-width gap padding padding-bottom padding-left padding-right padding-top text-align text-padding" },
    Component { name: "mj-section", text: false, children: "mj-column mj-group mj-raw", attributes: "background-color background-position background-position-x background-position-y background-repeat background-size background-url border border-bottom border-left border-radius border-right border-top direction full-width padding padding-bottom padding-left padding-right padding-top text-align text-padding" },
    Component { name: "mj-group", text: false, children: "mj-column mj-raw", attributes: "background-color direction vertical-align width" },
    Component { name: "mj-column", text: false, children: "mj-accordion mj-button mj-carousel mj-divider mj-image mj-raw mj-social mj-spacer mj-table mj-text mj-navbar", attributes: "background-color border border-bottom border-left border-radius border-right border-top direction inner-background-color inner-border inner-border-bottom inner-border-left inner-border-radius inner-border-right inner-border-top padding padding-bottom padding-left padding-right padding-top vertical-align width" },
    Component { name: "mj-hero", text: false, children: "mj-accordion mj-button mj-carousel mj-divider mj-image mj-social mj-spacer mj-table mj-text mj-navbar mj-raw", attributes: "background-color background-height background-position background-url background-width border-radius container-background-color height inner-background-color inner-padding inner-padding-bottom inner-padding-left inner-padding-right inner-padding-top mode padding padding-bottom padding-left padding-right padding-top vertical-align" },
    Component { name: "mj-accordion", text: false, children: "mj-accordion-element", attributes: "border container-background-color font-family icon-align icon-height icon-position icon-unwrapped-alt icon-unwrapped-url icon-width icon-wrapped-alt icon-wrapped-url padding padding-bottom padding-left padding-right padding-top" },
    Component { name: "mj-accordion-element", text: false, children: "mj-accordion-title mj-accordion-text", attributes: "background-color border font-family icon-align icon-height icon-position icon-unwrapped-alt icon-unwrapped-url icon-width icon-wrapped-alt icon-wrapped-url" },
    Component { name: "mj-accordion-title", text: true, children: "", attributes: "background-color color font-family font-size font-weight padding padding-bottom padding-left padding-right padding-top" },
    Component { name: "mj-accordion-text", text: true, children: "", attributes: "background-color color font-family font-size font-weight letter-spacing line-height padding padding-bottom padding-left padding-right padding-top" },
    Component { name: "mj-button", text: true, children: "", attributes: "align background-color border border-bottom border-left border-radius border-right border-top color container-background-color font-family font-size font-style font-weight height href inner-padding letter-spacing line-height name padding padding-bottom padding-left padding-right padding-top rel target text-align text-decoration text-transform title vertical-align width" },
    Component { name: "mj-carousel", text: false, children: "mj-carousel-image", attributes: "align border-radius container-background-color icon-width left-icon padding padding-bottom padding-left padding-right padding-top right-icon tb-border tb-border-radius tb-hover-border-color tb-selected-border-color tb-width thumbnails" },
    Component { name: "mj-carousel-image", text: true, children: "", attributes: "alt border-radius href rel src target tb-border tb-border-radius thumbnails-src title" },
    Component { name: "mj-divider", text: false, children: "", attributes: "align border-color border-style border-width container-background-color padding padding-bottom padding-left padding-right padding-top width" },
    Component { name: "mj-image", text: false, children: "", attributes: "align alt border border-bottom border-left border-radius border-right border-top container-background-color fluid-on-mobile font-size height href max-height name padding padding-bottom padding-left padding-right padding-top rel sizes src srcset target title usemap width" },
    Component { name: "mj-navbar", text: false, children: "mj-navbar-link", attributes: "align base-url hamburger ico-align ico-close ico-color ico-font-family ico-font-size ico-line-height ico-open ico-padding ico-padding-bottom ico-padding-left ico-padding-right ico-padding-top ico-text-decoration ico-text-transform padding padding-bottom padding-left padding-right padding-top" },
    Component { name: "mj-navbar-link", text: true, children: "", attributes: "color font-family font-size font-style font-weight href letter-spacing line-height name padding padding-bottom padding-left padding-right padding-top rel target text-decoration text-transform" },
    Component { name: "mj-raw", text: true, children: "", attributes: "" },
    Component { name: "mj-social", text: false, children: "mj-social-element", attributes: "align border-radius color container-background-color font-family font-size font-style font-weight icon-height icon-padding icon-size inner-padding line-height mode padding padding-bottom padding-left padding-right padding-top table-layout text-decoration text-padding vertical-align" },
    Component { name: "mj-social-element", text: true, children: "", attributes: "align alt background-color border-radius color font-family font-size font-style font-weight href icon-height icon-padding icon-position icon-size line-height name padding padding-bottom padding-left padding-right padding-top rel sizes src srcset target text-decoration text-padding title vertical-align" },
    Component { name: "mj-spacer", text: false, children: "", attributes: "border border-bottom border-left border-right border-top container-background-color height padding padding-bottom padding-left padding-right padding-top" },
    Component { name: "mj-table", text: true, children: "", attributes: "align border cellpadding cellspacing color container-background-color font-family font-size font-weight line-height padding padding-bottom padding-left padding-right padding-top role table-layout vertical-align width" },
    Component { name: "mj-text", text: true, children: "", attributes: "align background-color color container-background-color font-family font-size font-style font-weight height letter-spacing line-height padding padding-bottom padding-left padding-right padding-top text-decoration text-transform vertical-align" },
];
