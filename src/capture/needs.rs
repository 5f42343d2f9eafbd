//! What each kind of camera is built from, and the Debian package that brings it: for `check`,
//! which opens nothing.

use gstreamer as gst;

use super::pipeline::GstOpener;
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::SourceUrl;

/// An element of GStreamer and the Debian package that brings it.
type Need = (&'static str, &'static str);

const CORE: &str = "libgstreamer1.0-0";
const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const LIBAV: &str = "gstreamer1.0-libav";

/// What a camera with this address is built from.
fn needs(url: &SourceUrl) -> &'static [Need] {
    match url {
        SourceUrl::Rtsp(_) => &[
            ("rtspsrc", GOOD),
            ("rtph264depay", GOOD),
            ("h264parse", BAD),
            ("avdec_h264", LIBAV),
            ("decodebin", BASE),
            ("appsink", BASE),
        ],
        SourceUrl::Http(_) => &[
            ("souphttpsrc", GOOD),
            ("multipartdemux", GOOD),
            ("jpegparse", BAD),
            ("jpegdec", GOOD),
            ("appsink", BASE),
        ],
        SourceUrl::V4l2(_) => &[("v4l2src", GOOD), ("jpegdec", GOOD), ("decodebin", BASE), ("appsink", BASE)],
        SourceUrl::File(_) => &[("filesrc", CORE), ("decodebin", BASE), ("qtdemux", GOOD), ("appsink", BASE)],
        SourceUrl::Udp(..) => &[
            ("udpsrc", GOOD),
            ("tsdemux", BAD),
            ("h264parse", BAD),
            ("avdec_h264", LIBAV),
            ("decodebin", BASE),
            ("appsink", BASE),
        ],
        SourceUrl::Srt(..) => &[
            ("srtsrc", BAD),
            ("tsdemux", BAD),
            ("h264parse", BAD),
            ("avdec_h264", LIBAV),
            ("decodebin", BASE),
            ("appsink", BASE),
        ],
        // Read by this program itself.
        SourceUrl::Tiff(_) => &[],
        SourceUrl::Test => &[("videotestsrc", BASE), ("appsink", BASE)],
    }
}

/// Whether this machine has what a camera with this address is built from: how many elements that
/// is, or which are missing and the packages that bring them.
pub fn check_elements(url: &SourceUrl) -> Result<usize> {
    GstOpener::new()?;
    let needs = needs(url);
    missing(needs, |element| gst::ElementFactory::find(element).is_some()).map_or(Ok(needs.len()), Err)
}

fn missing(needs: &[Need], there: impl Fn(&str) -> bool) -> Option<Error> {
    let missing: Vec<_> = needs.iter().filter(|(element, _)| !there(element)).collect();
    if missing.is_empty() {
        return None;
    }
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let names: Vec<_> = missing.iter().map(|(element, _)| *element).collect();
    let what = format!("GStreamer lacks {} on this machine", names.join(", "));
    let remedy = format!("apt install {}", packages.join(" "));
    Some(Error::new(Kind::Unsupported, Culprit::Host, what).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_each_package_once() {
        let url = SourceUrl::Http("http://camera/".into());
        assert!(missing(needs(&url), |_| true).is_none());
        let e = missing(needs(&url), |element| element == "appsink").unwrap();
        assert_eq!(
            e.what(),
            "GStreamer lacks souphttpsrc, multipartdemux, jpegparse, jpegdec on this machine"
        );
        assert_eq!(e.advice(), Some("apt install gstreamer1.0-plugins-bad gstreamer1.0-plugins-good"));
    }

    #[test]
    fn every_kind_of_camera_can_be_built_where_the_tests_run() {
        for url in [
            SourceUrl::Rtsp("rtsp://camera/".into()),
            SourceUrl::Http("http://camera/".into()),
            SourceUrl::V4l2("/dev/video0".into()),
            SourceUrl::File("film.mp4".into()),
            SourceUrl::parse("udp://:5000").unwrap(),
            SourceUrl::parse("srt://:5000?mode=listener").unwrap(),
            SourceUrl::Tiff("folder".into()),
            SourceUrl::Test,
        ] {
            assert_eq!(check_elements(&url).unwrap(), needs(&url).len());
        }
    }
}
