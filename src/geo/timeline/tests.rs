use super::*;
use crate::config::{AssumeConfig, Millis, TelemetryKind};
use crate::geo::pose::TelemetrySource;
use proptest::prelude::*;

/// Metres of one degree of latitude, as `LatLon::apart` has it.
const DEGREE_M: f64 = 111_194.926_6;

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

fn config() -> TelemetryConfig {
    TelemetryConfig::new(TelemetryKind::Klv)
}

fn deg(degrees: f64) -> Angle {
    Angle::from_degrees(degrees)
}

/// A drone that flies north with 10 m/s at 120 m, turns with 10 degrees a second, and looks down.
fn said(ms: i64) -> Telemetry {
    let s = ms as f64 / 1000.0;
    Telemetry {
        time: time(ms),
        source: TelemetrySource::Klv,
        position: LatLon::from_degrees(30.0 + 10.0 * s / DEGREE_M, 120.0),
        height: Some(Height::Ellipsoid(EllipsoidHeight(120.0 + s))),
        platform: Some(Attitude { yaw: deg(355.0 + 10.0 * s).compass(), pitch: deg(-3.0), roll: deg(1.0) }),
        gimbal: Some(Gimbal::Platform { azimuth: deg(2.0), elevation: deg(-80.0), roll: deg(0.0) }),
        field_of_view: Some(FieldOfView { horizontal: deg(40.0), vertical: None }),
        slant_range_m: None,
    }
}

fn flown(times: impl IntoIterator<Item = i64>) -> Timeline {
    let mut timeline = Timeline::new(&config());
    for ms in times {
        assert_eq!(timeline.push(said(ms)), []);
    }
    timeline
}

fn north_m(pose: &Pose) -> f64 {
    (pose.position.lat().degrees() - 30.0) * DEGREE_M
}

fn height_m(pose: &Pose) -> f64 {
    let Height::Ellipsoid(h) = pose.height else { panic!("{:?}", pose.height) };
    h.0
}

#[test]
fn a_frame_between_two_messages_lies_between_them() {
    let timeline = flown((0..=20).map(|n| n * 100));
    let pose = timeline.pose(time(540), false).unwrap();
    assert!((north_m(&pose) - 5.4).abs() < 1e-3 && (height_m(&pose) - 120.54).abs() < 1e-6);
    // The short way through north.
    assert!((pose.platform.yaw.degrees() - 0.4).abs() < 1e-6, "{:?}", pose.platform);
    assert!((pose.platform.pitch.degrees() + 3.0).abs() < 0.01);
    assert_eq!(pose.time, time(540));
    assert!(pose.assumed.is_empty() && pose.stale.is_empty());
    assert_eq!(pose.ages.len(), 5);
    assert!(pose.ages.iter().all(|(_, age)| (age.as_millis() as i64 - 40).abs() <= 1), "{:?}", pose.ages);
    // Hardly more than what was measured, and the 50 ms between the clocks at 10 m/s.
    assert!((pose.sigma.horizontal_m - 1.5f64.hypot(0.5)).abs() < 0.02, "{:?}", pose.sigma);
    assert!(pose.sigma.yaw.degrees() > 3.0 && pose.sigma.yaw.degrees() < 3.1);
}

#[test]
fn late_unordered_and_repeated_messages_change_nothing() {
    let straight = flown((0..=20).map(|n| n * 100));
    let mut order: Vec<i64> = (0..=20).map(|n| n * 100).collect();
    for (a, b) in [(1, 5), (3, 18), (7, 12), (20, 2)] {
        order.swap(a, b);
    }
    order.extend([300, 300, 700]);
    let mut mixed = Timeline::new(&config());
    for ms in order {
        assert_eq!(mixed.push(said(ms)), []);
    }
    for ms in [0, 250, 1_333, 2_000] {
        assert_eq!(mixed.pose(time(ms), false), straight.pose(time(ms), false), "{ms}");
    }
    assert_eq!(mixed.counts().repeated, 3 * 5);
}

#[test]
fn a_frame_waits_for_telemetry_that_is_on_its_way_and_not_for_ever() {
    let timeline = flown((0..=10).map(|n| n * 100));
    assert!(timeline.pose(time(1_150), true).is_ok());
    let Err(NoPose::NotYet(due)) = timeline.pose(time(1_300), true) else { panic!() };
    assert_eq!(due, [Input::Position, Input::Height, Input::Platform, Input::Gimbal]);
    // Who has waited takes what there is: held, older, less certain.
    let held = timeline.pose(time(1_300), false).unwrap();
    assert!((north_m(&held) - 10.0).abs() < 1e-3);
    assert!(held.sigma.horizontal_m > 1.5f64.hypot(2.4));
    // Silent for longer than it would be late: nothing to wait for.
    let silent = timeline.pose(time(3_000), true).unwrap();
    assert_eq!(silent.stale, Input::ALL);
    // Half a minute later it is as good as never said.
    assert_eq!(timeline.pose(time(40_000), true), Err(NoPose::Missing(Input::ALL.to_vec())));
}

#[test]
fn a_movement_is_carried_on_for_a_while() {
    let timeline = flown((0..=10).map(|n| n * 100));
    let near = timeline.pose(time(1_150), false).unwrap();
    assert!((north_m(&near) - 11.5).abs() < 1e-3);
    assert!((near.platform.yaw.degrees() - 6.5).abs() < 1e-3);
    let far = timeline.pose(time(1_250), false).unwrap();
    assert!((north_m(&far) - 10.0).abs() < 1e-3, "held where it was last");
    assert!(far.sigma.horizontal_m > near.sigma.horizontal_m);
    // Before the first message there is nothing to carry on from.
    assert!((north_m(&timeline.pose(time(-90), false).unwrap()) - 0.0).abs() < 1e-3);
}

#[test]
fn a_dropout_is_bridged_and_named() {
    let timeline = flown((0..=10).map(|n| n * 100).chain((60..=70).map(|n| n * 100)));
    let pose = timeline.pose(time(3_500), false).unwrap();
    assert!((north_m(&pose) - 35.0).abs() < 1e-3);
    assert_eq!(pose.stale, Input::ALL);
    // 2.5 s to either side at 4 m/s²: 12.5 m.
    assert!((pose.sigma.horizontal_m - 12.6).abs() < 0.2, "{:?}", pose.sigma);
    assert!(timeline.pose(time(6_050), false).unwrap().stale.is_empty());
}

#[test]
fn a_jump_is_named_not_followed_and_never_interpolated_across() {
    let mut timeline = flown((0..=10).map(|n| n * 100));
    let elsewhere = |ms: i64| Telemetry { position: LatLon::from_degrees(30.1, 120.0), ..said(ms) };
    let notices = timeline.push(elsewhere(1_100));
    assert!(matches!(notices[..], [Notice::Jumped(Input::Position, m)] if (m - 11_109.0).abs() < 5.0));
    assert!(notices[0].to_string().contains("position jumped 11109 m"), "{}", notices[0]);
    let doubtful = timeline.pose(time(1_150), false).unwrap();
    assert_eq!(doubtful.stale, [Input::Position]);
    assert!(north_m(&doubtful) < 15.0);
    // Before the jump nothing is in doubt.
    assert!(timeline.pose(time(1_050), false).unwrap().stale.is_empty());
    // It came from one bad message.
    assert_eq!(timeline.push(said(1_200)), []);
    assert!((north_m(&timeline.pose(time(1_150), false).unwrap()) - 11.5).abs() < 1e-3);
    assert!(timeline.pose(time(1_150), false).unwrap().stale.is_empty());

    // It stays there: after five messages it is believed.
    let mut notices = Vec::new();
    for n in 13..18 {
        notices.extend(timeline.push(elsewhere(n * 100)));
    }
    assert!(matches!(notices[..], [Notice::Jumped(..), Notice::Settled(Input::Position)]), "{notices:?}");
    let there = timeline.pose(time(1_650), false).unwrap();
    assert!((north_m(&there) - 0.1 * DEGREE_M).abs() < 0.1);
    assert!(there.stale.is_empty());
    for ms in [1_210, 1_250, 1_290] {
        let across = timeline.pose(time(ms), false).unwrap();
        let north = north_m(&across);
        assert!(!(13.0..=11_000.0).contains(&north), "{ms}: {north}");
        assert_eq!(across.stale, [Input::Position]);
    }
    assert_eq!(timeline.counts().jumped, 1 + 4);
}

/// Fifty metres in a tenth of a second are a jump; half a second later a fast drone could have flown them, and did not.
#[test]
fn a_jump_that_could_have_been_flown_in_time_is_one_all_the_same() {
    let mut timeline = flown((0..=10).map(|n| n * 100));
    let aside = LatLon::from_degrees(30.0, 120.0 + 50.0 / DEGREE_M / 30f64.to_radians().cos());
    let mut notices = Vec::new();
    for n in 11..=15 {
        let at = LatLon::from_degrees(
            said(n * 100).position.unwrap().lat().degrees(),
            aside.unwrap().lon().degrees(),
        );
        notices.extend(timeline.push(Telemetry { position: at, ..said(n * 100) }));
        let pose = timeline.pose(time(n * 100 - 50), false).unwrap();
        let east = (pose.position.lon().degrees() - 120.0) * DEGREE_M;
        assert!(n == 15 || east.abs() < 1e-3, "{n}: {east}");
    }
    assert!(matches!(notices[..], [Notice::Jumped(..), Notice::Settled(Input::Position)]), "{notices:?}");
    assert!(timeline.pose(time(1_450), false).unwrap().sigma.horizontal_m > 35.0);
    // And back at once: again five messages are needed.
    let mut notices = Vec::new();
    for n in 16..=20 {
        notices.extend(timeline.push(said(n * 100)));
    }
    assert!(matches!(notices[..], [Notice::Jumped(..), Notice::Settled(Input::Position)]), "{notices:?}");
}

#[test]
fn a_height_that_changes_its_kind_is_not_mixed() {
    let mut timeline = flown([0, 100]);
    for ms in [200, 300] {
        let sea = Some(Height::SeaLevel(SeaLevelHeight(110.0)));
        assert_eq!(timeline.push(Telemetry { height: sea, ..said(ms) }), []);
    }
    assert!(matches!(timeline.pose(time(140), false).unwrap().height, Height::Ellipsoid(_)));
    assert!(matches!(timeline.pose(time(160), false).unwrap().height, Height::SeaLevel(_)));
    // And a height that jumps is one.
    let high = Some(Height::SeaLevel(SeaLevelHeight(400.0)));
    assert!(matches!(
        timeline.push(Telemetry { height: high, ..said(400) })[..],
        [Notice::Jumped(Input::Height, _)]
    ));
    assert_eq!(timeline.pose(time(400), false).unwrap().stale, [Input::Height]);
}

#[test]
fn what_is_not_said_is_assumed_or_missing_and_named() {
    let bare = |ms| Telemetry { gimbal: None, field_of_view: None, height: None, ..said(ms) };
    let mut timeline = Timeline::new(&config());
    timeline.push(bare(0));
    let none = timeline.pose(time(0), true).unwrap_err();
    assert_eq!(none, NoPose::Missing(vec![Input::Height, Input::Gimbal, Input::FieldOfView]));
    let error = Error::from(none).to_string();
    assert!(error.contains("does not say its height, gimbal, field_of_view"), "{error}");
    assert!(error.contains("[search.telemetry.assume]"), "{error}");

    let assume =
        AssumeConfig { height_m: Some(80.0), camera_elevation_deg: Some(-90.0), ..AssumeConfig::default() };
    let lens = FieldOfView { horizontal: deg(32.0), vertical: None };
    let mut timeline = Timeline::new(&TelemetryConfig { assume, ..config() }).assuming(Some(lens));
    timeline.push(bare(0));
    let pose = timeline.pose(time(20), true).unwrap();
    assert_eq!(pose.field_of_view, lens);
    assert_eq!(pose.assumed, [Input::Height, Input::Gimbal, Input::FieldOfView]);
    assert_eq!(pose.ages.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [Input::Position, Input::Platform]);
    assert_eq!(pose.height, Height::Takeoff(TakeoffHeight(80.0)));
    assert!(matches!(pose.gimbal, Gimbal::Platform { elevation, .. } if elevation == deg(-90.0)));
    // What is said comes before what is assumed.
    timeline.push(said(100));
    assert!(timeline.pose(time(100), true).unwrap().assumed.is_empty());
}

#[test]
fn a_gimbal_that_knows_north_needs_no_platform() {
    let world = Gimbal::World(Attitude { yaw: deg(90.0), pitch: deg(-90.0), roll: Angle::ZERO });
    let mut timeline = Timeline::new(&config());
    for ms in [0, 100] {
        timeline.push(Telemetry { platform: None, gimbal: Some(world), ..said(ms) });
    }
    let pose = timeline.pose(time(50), true).unwrap();
    assert_eq!(pose.platform.yaw, Angle::ZERO);
    assert!(pose.ages.iter().all(|(input, _)| *input != Input::Platform));
    let Gimbal::World(attitude) = pose.gimbal else { panic!() };
    assert!((attitude.yaw.degrees() - 90.0).abs() < 1e-6 && (attitude.pitch.degrees() + 90.0).abs() < 1e-6);
}

#[test]
fn a_field_of_view_is_held_and_not_waited_for() {
    let mut timeline = Timeline::new(&config());
    let wide = |ms, h: f64| Telemetry {
        field_of_view: Some(FieldOfView { horizontal: deg(h), vertical: None }),
        ..said(ms)
    };
    timeline.push(wide(0, 40.0));
    timeline.push(wide(100, 20.0));
    for n in 2..=8 {
        timeline.push(Telemetry { field_of_view: None, ..said(n * 100) });
    }
    assert_eq!(timeline.pose(time(30), true).unwrap().field_of_view.horizontal, deg(40.0));
    assert_eq!(timeline.pose(time(70), true).unwrap().field_of_view.horizontal, deg(20.0));
    assert_eq!(timeline.pose(time(800), true).unwrap().field_of_view.horizontal, deg(20.0));
}

#[test]
fn a_range_holds_for_a_moment() {
    let mut timeline = flown([0, 100, 200, 300, 400, 500, 600]);
    timeline.push(Telemetry { slant_range_m: Some(140.0), position: None, ..said(650) });
    assert_eq!(timeline.pose(time(600), false).unwrap().slant_range_m, Some(140.0));
    assert_eq!(timeline.pose(time(300), false).unwrap().slant_range_m, None);
    timeline.push(Telemetry { slant_range_m: Some(f64::NAN), position: None, ..said(660) });
}

#[test]
fn a_clock_that_steps_is_believed_after_three_messages() {
    let mut timeline = flown([0, 100, 200]);
    // One message of another year moves nothing.
    let year = 365 * 86_400_000;
    assert_eq!(timeline.push(said(year)), []);
    assert_eq!(timeline.push(said(300)), []);
    assert!(timeline.pose(time(250), false).is_ok());
    assert_eq!(timeline.counts().strange_time, 1);
    // A drone that starts again, and its clock with it.
    let early = |n: i64| Telemetry { time: Timestamp::from_millisecond(n * 100).unwrap(), ..said(n * 100) };
    assert_eq!(timeline.push(early(1)), []);
    assert_eq!(timeline.push(early(2)), []);
    let [notice @ Notice::ClockStepped(from, to)] = timeline.push(early(3))[..] else { panic!() };
    assert_eq!((from, to), (time(300), Timestamp::from_millisecond(300).unwrap()));
    assert!(notice.to_string().contains("clock stepped"));
    assert!(timeline.pose(time(250), false).is_err());
    assert!(timeline.pose(to, false).is_ok());
    assert_eq!(timeline.clock(time(0)), ClockState::Unset);
}

#[test]
fn a_clock_is_judged_beside_this_boxs() {
    assert_eq!(Timeline::new(&config()).clock(time(0)), ClockState::Unknown);
    let timeline = flown([0]);
    assert_eq!(timeline.clock(time(60_000)), ClockState::Plausible);
    assert_eq!(timeline.clock(time(2 * 86_400_000)), ClockState::Astray);
    assert_eq!(timeline.clock(time(-2 * 86_400_000)), ClockState::Astray);
}

#[test]
fn the_stream_knows_the_drones_time() {
    let stream = |ms: i64| Duration::from_millis(ms as u64);
    let mut timeline = Timeline::new(&config());
    assert_eq!(timeline.pose_at(stream(0), true), Err(NoPose::NoTime));
    // The stream began 5 s after the drone's zero; some messages were held back.
    for (n, late) in [0, 0, 300, 0, 40, 0, 0, 900, 0, 0].into_iter().enumerate() {
        let ms = n as i64 * 100;
        assert_eq!(timeline.push_at(said(5_000 + ms), stream(ms + late)), []);
    }
    assert_eq!(timeline.drone_time(stream(450)), Some(time(5_450)));
    let pose = timeline.pose_at(stream(450), true).unwrap();
    assert!((north_m(&pose) - 54.5).abs() < 1e-3);

    // The video was opened again and its times start over: for two messages nobody knows, and
    // nobody is told a wrong place.
    assert_eq!(timeline.push_at(said(8_000), stream(0)), []);
    assert_eq!(timeline.drone_time(stream(10)), None);
    assert_eq!(timeline.push_at(said(8_100), stream(100)), []);
    assert_eq!(timeline.push_at(said(8_200), stream(200)), [Notice::StreamStepped]);
    assert_eq!(timeline.drone_time(stream(150)), Some(time(8_150)));
    // Who knows that it was opened again says so.
    timeline.new_stream();
    assert_eq!(timeline.drone_time(stream(150)), None);
    timeline.push_at(said(9_000), stream(0));
    assert_eq!(timeline.drone_time(stream(150)), Some(time(9_150)));
}

/// Video and telemetry belong together by the times that are in them, not by when they came.
#[test]
fn telemetry_that_comes_late_moves_no_frame() {
    let stream = |ms: i64| Duration::from_millis(ms as u64);
    for late in [300, 800, 3_000, 45_000] {
        let mut timeline = Timeline::new(&config());
        for n in 0..40 {
            assert_eq!(timeline.push_at(said(5_000 + n * 100), stream(n * 100)), []);
        }
        // The link is jammed, and goes on: everything comes `late` after its time.
        for n in 40..220 {
            assert_eq!(timeline.push_at(said(5_000 + n * 100), stream(n * 100 + late)), [], "{late}");
            assert_eq!(timeline.drone_time(stream(2_050)), Some(time(7_050)), "{late} {n}");
        }
        // It is free again, and what is late still comes between.
        for n in 220..240 {
            assert_eq!(timeline.push_at(said(5_000 + n * 100), stream(n * 100)), []);
            assert_eq!(timeline.push_at(said(5_000 + n * 100 - 150), stream(n * 100 + 10)), []);
            assert_eq!(timeline.drone_time(stream(2_050)), Some(time(7_050)), "{late} {n}");
        }
    }
}

#[test]
fn what_is_late_for_a_minute_is_another_distance_and_what_is_early_shows_it_at_once() {
    let stream = |ms: i64| Duration::from_millis(ms as u64);
    let mut timeline = Timeline::new(&config());
    let mut notices = Vec::new();
    // Half a second of a stream whose times were guessed is soon forgotten.
    for n in 0..5 {
        notices.extend(timeline.push_at(said(5_000 + n * 100), stream(n * 100 - n * 90)));
    }
    for n in 5..90 {
        notices.extend(timeline.push_at(said(5_000 + n * 100), stream(n * 100)));
    }
    assert_eq!(notices, []);
    assert_eq!(timeline.drone_time(stream(8_000)), Some(time(13_000)));
    for n in 90..720 {
        notices.extend(timeline.push_at(said(5_000 + n * 100), stream(n * 100 + 2_000)));
        assert!(n > 690 || notices.is_empty(), "{n}");
    }
    assert_eq!(notices, [Notice::StreamStepped]);
    assert_eq!(timeline.drone_time(stream(66_000)), Some(time(69_000)));
    // Half a second earlier than that, three times: it was late all the while. No clock stepped for it.
    for n in 720..723 {
        assert_eq!(timeline.push_at(said(5_000 + n * 100), stream(n * 100 + 1_500)), []);
    }
    assert_eq!(timeline.drone_time(stream(66_000)), Some(time(69_500)));
    // A drone's clock that is set back by a second and a half is one, after three messages.
    let mut notices = Vec::new();
    for n in 723..726 {
        notices.extend(timeline.push_at(said(5_000 + n * 100 - 1_500), stream(n * 100 + 1_500)));
    }
    assert_eq!(notices, [Notice::StreamStepped]);
    assert_eq!(timeline.drone_time(stream(66_000)), Some(time(68_000)));
}

/// While no picture brings the stream's clock, times stand still or nearly so.
#[test]
fn guessed_times_of_a_gap_in_the_video_are_no_other_clock() {
    let stream = |ms: i64| Duration::from_millis(ms as u64);
    for per_second in [5, 10, 50] {
        let step = 1_000 / per_second;
        let mut timeline = Timeline::new(&config());
        for n in 0..3 * per_second {
            assert_eq!(timeline.push_at(said(5_000 + n * step), stream(n * step)), []);
        }
        for n in 3 * per_second..10 * per_second {
            let guessed = 3_000 + (n - 3 * per_second) * step / 20;
            assert_eq!(timeline.push_at(said(5_000 + n * step), stream(guessed)), [], "{per_second}");
        }
        for n in 10 * per_second..11 * per_second {
            assert_eq!(timeline.push_at(said(5_000 + n * step), stream(n * step)), []);
            assert_eq!(timeline.drone_time(stream(10_000)), Some(time(15_000)), "{per_second}");
        }
    }
}

#[test]
fn a_place_after_a_jump_may_be_off_by_the_jump() {
    let mut timeline = flown((0..=10).map(|n| n * 100));
    let before = timeline.pose(time(950), false).unwrap().sigma.horizontal_m;
    let off = 80.0 / DEGREE_M;
    let away = |ms: i64| {
        let at = said(ms).position.unwrap();
        Telemetry { position: LatLon::from_degrees(at.lat().degrees() + off, 120.0), ..said(ms) }
    };
    for n in 11..=40 {
        timeline.push(away(n * 100));
    }
    let there = timeline.pose(time(3_950), false).unwrap();
    assert!((north_m(&there) - 119.5).abs() < 0.1 && there.stale.is_empty());
    // 80 m in a direction that nobody knows beforehand, and the metre flown meanwhile: 57 m on each axis.
    assert!((there.sigma.horizontal_m - 57.3).abs() < 0.5, "{:?}", there.sigma);
    // What was told before the jump is not touched, and height is another matter.
    assert_eq!(timeline.pose(time(950), false).unwrap().sigma.horizontal_m, before);
    assert!(there.sigma.vertical_m < 4.0);
    // There and back: it was a fault of the receiver, and is over.
    for n in 41..=60 {
        timeline.push(said(n * 100));
    }
    let back = timeline.pose(time(5_950), false).unwrap();
    assert!((north_m(&back) - 59.5).abs() < 0.1);
    assert!(back.sigma.horizontal_m < before + 1.5, "{:?}", back.sigma);
}

#[test]
fn clocks_that_differ_by_a_known_time_are_put_together() {
    let mut timeline = Timeline::new(&TelemetryConfig { offset_ms: 250, ..config() });
    for n in 0..20 {
        timeline.push(said(n * 100));
    }
    let pose = timeline.pose(time(500), true).unwrap();
    assert_eq!(pose.time, time(500));
    assert!((north_m(&pose) - 7.5).abs() < 1e-3);
}

#[test]
fn a_receiver_that_knows_itself_worse_is_believed() {
    let mut timeline = flown([0, 100]);
    let before = timeline.pose(time(0), true).unwrap().sigma;
    timeline.set_accuracy(12.0, 1.0);
    let after = timeline.pose(time(0), true).unwrap().sigma;
    assert!(after.horizontal_m > 12.0 && after.vertical_m == before.vertical_m);
    timeline.set_accuracy(f64::NAN, 1.0);
    assert_eq!(timeline.pose(time(0), true).unwrap().sigma, before);
}

#[test]
fn the_history_is_bounded() {
    let mut timeline = Timeline::new(&config());
    for n in 0..20_000 {
        timeline.push(said(n * 3));
    }
    assert!(timeline.position.entries.len() <= MAX_SAMPLES);
    for n in 0..2_000 {
        timeline.push(said(60_000 + n * 100));
    }
    assert!(timeline.position.entries.len() <= 302);
    assert_eq!(timeline.push(said(60_000 + 199_900 - 29_000)), []);
    // Thirty seconds late: of no use, and no other clock.
    assert_eq!(timeline.push(said(60_000 + 199_900 - 31_000)), []);
    assert_eq!(timeline.counts().strange_time, 1);
}

#[test]
fn the_wait_is_of_no_use_to_slow_telemetry() {
    let fast = TelemetryConfig { wait_ms: Millis(300), ..config() };
    let mut timeline = Timeline::new(&fast);
    for n in 0..5 {
        timeline.push(said(n * 1_000));
    }
    // One message a second: the next one is further off than a frame may wait.
    assert!(timeline.pose(time(4_500), true).is_ok());
}

proptest! {
    #[test]
    fn whatever_comes_the_pose_is_finite_and_near_what_was_said(
        times in prop::collection::vec(0i64..5_000, 1..60), at in -1_000i64..6_000,
    ) {
        let mut timeline = Timeline::new(&config());
        for ms in times {
            timeline.push(said(ms));
        }
        let pose = timeline.pose(time(at), false).unwrap();
        let truth = (at as f64 / 100.0).clamp(0.0, 60.0);
        // The stated uncertainty covers the straight flight whatever is missing of it.
        prop_assert!((north_m(&pose) - truth).abs() <= 4.0 * pose.sigma.horizontal_m + 10.0);
        prop_assert!(pose.sigma.horizontal_m.is_finite() && pose.sigma.yaw.degrees().is_finite());
        for (_, age) in &pose.ages {
            prop_assert!(age.as_secs_f64() <= 6.0);
        }
    }

    #[test]
    fn jumps_of_any_kind_are_never_averaged(far in prop::collection::vec(any::<bool>(), 5..60), at in 0i64..6_000) {
        let mut timeline = Timeline::new(&config());
        for (n, far) in far.iter().enumerate() {
            let said = said(n as i64 * 100);
            let position = if *far { LatLon::from_degrees(31.0, 120.0) } else { said.position };
            timeline.push(Telemetry { position, ..said });
        }
        let north = north_m(&timeline.pose(time(at), false).unwrap());
        prop_assert!(!(100.0..=110_000.0).contains(&north), "{north}");
    }
}
