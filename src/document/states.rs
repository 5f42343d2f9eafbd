//! The codes of states and organisations in machine-readable zones (ICAO Doc 9303 part 3, 5): ISO
//! 3166-1 alpha-3, as of 2026, and ICAO's own additions.

/// ISO 3166-1 alpha-3, in order.
const ISO: &str = "ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA \
    BGD BGR BHR BHS BIH BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD \
    COG COK COL COM CPV CRI CUB CUW CXR CYM CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH \
    FIN FJI FLK FRA FRO FSM GAB GBR GEO GGY GHA GIB GIN GLP GMB GNB GNQ GRC GRD GRL GTM GUF GUM GUY HKG \
    HMD HND HRV HTI HUN IDN IMN IND IOT IRL IRN IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM KIR KNA \
    KOR KWT LAO LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA MAC MAF MAR MCO MDA MDG MDV MEX MHL MKD MLI MLT \
    MMR MNE MNG MNP MOZ MRT MSR MTQ MUS MWI MYS MYT NAM NCL NER NFK NGA NIC NIU NLD NOR NPL NRU NZL OMN \
    PAK PAN PCN PER PHL PLW PNG POL PRI PRK PRT PRY PSE PYF QAT REU ROU RUS RWA SAU SDN SEN SGP SGS SHN \
    SJM SLB SLE SLV SMR SOM SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA TCD TGO THA TJK TKL TKM \
    TLS TON TTO TUN TUR TUV TWN TZA UGA UKR UMI URY USA UZB VAT VCT VEN VGB VIR VNM VUT WLF WSM YEM ZAF \
    ZMB ZWE";

/// Part 3, section 5, parts B to D: Germany, British nationals, the United Nations, organisations,
/// people without a nationality, Utopia; and the code that Kosovo uses.
const OWN: &str = "D GBD GBN GBO GBP GBS UNO UNA UNK XAA XBA XCC XCE XCO XCT XDC XEC XES XIM XKX XMP XOM XPO \
    XSU XXA XXB XXC XXX EUE RKS NTZ UTO";

/// Whether `code`, without fillers, stands for a state, an organisation or a group of people.
pub(super) fn known(code: &str) -> bool {
    [ISO, OWN].iter().any(|list| list.split_whitespace().any(|known| known == code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_in_order() {
        let iso: Vec<_> = ISO.split_whitespace().collect();
        assert_eq!(iso.len(), 249, "ISO 3166-1 has 249 entries");
        assert!(iso.windows(2).all(|w| w[0] < w[1]));
        assert!(iso.iter().all(|c| c.len() == 3 && c.bytes().all(|b| b.is_ascii_uppercase())));
        for code in ["D", "CHN", "HKG", "UTO", "XXA"] {
            assert!(known(code), "{code}");
        }
        for code in ["", "DE", "XYZ", "chn", "CHN CIV"] {
            assert!(!known(code), "{code}");
        }
    }
}
