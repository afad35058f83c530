"""XML of the service: lenient where it does not matter, strict where it does."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cosfs.cos import sdk_xml, xml
from cosfs.errors import InvalidAnswer, InvalidParameter

ROW = ("<Contents><Key>{key}</Key><LastModified>2020-12-10T03:37:30.000Z</LastModified><ETag>\"e\"</ETag>"
       "<Size>5</Size><Owner><ID>1</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>")


def listing(*rows, head="<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>", root="ListBucketResult"):
    return f"<{root}>{head}{''.join(rows)}</{root}>".encode()


def test_listing_row():
    page = xml.parse_list_objects(listing(ROW.format(key="a%20b%2Bc%0A")))
    entry, = page.objects
    assert (entry.key, entry.size_bytes, entry.etag) == ("a b+c\n", 5, "e")
    assert entry.last_modified_s == 1607571450.0
    assert page.next_marker is None


def test_names_are_decoded_only_when_the_answer_says_so():
    page = xml.parse_list_objects(listing(ROW.format(key="a%20b"), head=""))
    assert page.objects[0].key == "a%20b"


def test_plus_is_a_space_in_s3_only():
    body = listing(ROW.format(key="a+b"))
    assert xml.parse_list_objects(body).objects[0].key == "a+b"
    assert xml.parse_list_objects(body, plus_is_space=True).objects[0].key == "a b"


def test_key_that_is_not_utf8_survives():
    assert xml.parse_list_objects(listing(ROW.format(key="a%FF"))).objects[0].key == "a\udcff"


@pytest.mark.parametrize("body", [
    listing(ROW.format(key="k"), head="<Encoding-Type>url</Encoding-Type>"),
    listing(ROW.format(key="k"), head="<Encoding-type>url</Encoding-type>"),
    b"  \n" + listing(ROW.format(key="k")),
    b"\n<?xml version='1.0' encoding='utf-8' ?>" + listing(ROW.format(key="k")),
    listing(ROW.format(key="k")).replace(b"<ListBucketResult>",
                                         b'<ListBucketResult xmlns="http://s3.example/2006-03-01/">'),
    listing(ROW.format(key="k"), "<Unknown><x/></Unknown>"),
])
def test_listing_spellings(body):
    assert xml.parse_list_objects(body).objects[0].key == "k"


@pytest.mark.parametrize("spelling", ["CommonPrefixes", "CommonPrefixs"])
def test_common_prefixes(spelling):
    rows = [f"<{spelling}><Prefix>a%2F/</Prefix></{spelling}>", f"<{spelling}><Prefix>b/</Prefix></{spelling}>"]
    assert xml.parse_list_objects(listing(*rows)).prefixes == ("a//", "b/")


def test_next_marker_is_taken_or_made_of_the_greatest_name():
    truncated = "<IsTruncated>true</IsTruncated>"
    assert xml.parse_list_objects(listing(ROW.format(key="b"), head=truncated)).next_marker == "b"
    rows = [ROW.format(key="b"), "<CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>"]
    assert xml.parse_list_objects(listing(*rows, head=truncated)).next_marker == "c/"
    given = truncated + "<EncodingType>url</EncodingType><NextMarker>x%20y</NextMarker>"
    assert xml.parse_list_objects(listing(ROW.format(key="b"), head=given)).next_marker == "x y"


def test_next_marker_that_is_not_encoded_among_encoded_names_is_taken_as_it_is():
    head = "<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextMarker>p+q%2F</NextMarker>"
    page = xml.parse_list_objects(listing(ROW.format(key="p%2Bq%252F"), head=head), plus_is_space=True)
    assert page.next_marker == page.objects[0].key == "p+q%2F"


MORE = "<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>"


@pytest.mark.parametrize("head, key", [
    (MORE + "<NextMarker>d/k.txt</NextMarker>", "d/k.txt"), (MORE + "<NextMarker>other</NextMarker>", "d/k.txt"),
    (MORE + "<NextMarker>%C3%BC+%20</NextMarker>", "%C3%BC+%20")])
@pytest.mark.parametrize("plus_is_space", [False, True])
def test_marker_is_known_before_the_rows(head, key, plus_is_space):
    body = listing(ROW.format(key=key), head=head)
    early = xml.early_marker(body, plus_is_space=plus_is_space)
    assert early == xml.parse_list_objects(body, plus_is_space=plus_is_space).next_marker


@pytest.mark.parametrize("body", [
    listing(ROW.format(key="k")),
    listing(ROW.format(key="k"), head=MORE),
    listing(ROW.format(key="k"), head="<NextMarker>k</NextMarker><IsTruncated>false</IsTruncated>"),
    listing(ROW.format(key="p%2Bq%252F"), head=MORE + "<NextMarker>p+q%2F</NextMarker>"),
    listing(ROW.format(key="a%2B"), head="<IsTruncated>true</IsTruncated><NextMarker>a%2B</NextMarker>"),
    listing(ROW.format(key="a&amp;b"), head=MORE + "<NextMarker>a&amp;b</NextMarker>"),
    listing(ROW.format(key="\u00fc"), head=MORE + "<NextMarker>\u00fc</NextMarker>"), b"", b"text"])
def test_marker_that_leaves_a_doubt_is_not_taken_early(body):
    assert xml.early_marker(body) is None


def test_time_of_a_listing_has_whole_seconds_as_that_of_head():
    body = listing(ROW.format(key="k").replace("30.000Z", "30.726Z"))
    assert xml.parse_list_objects(body).objects[0].last_modified_s == 1607571450.0


@pytest.mark.parametrize("body", [
    b"", b"text", b"<html/>", listing(root="Other"), listing("<Contents><Key>k</Key></Contents>"),
    listing(ROW.format(key="").replace("<Key></Key>", "")), listing(ROW.format(key="k").replace("<Size>5", "<Size>x")),
    listing(ROW.format(key="k").replace("2020-12-10T", "yesterday")), listing(head="<IsTruncated>true</IsTruncated>"),
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + listing()])
def test_listing_that_lacks_what_matters_is_invalid(body):
    with pytest.raises(InvalidAnswer):
        xml.parse_list_objects(body)


@pytest.mark.parametrize("text, expected", [
    ("2020-12-10T03:37:30.000Z", 1607571450.0), ("2020-12-10T03:37:30Z", 1607571450.0),
    ("2020-12-10T03:37:30", 1607571450.0), ("2020-12-10T03:37:30.25Z", 1607571450.25), ("1969-12-31T23:59:59Z", -1.0)])
def test_times(text, expected):
    assert xml.parse_time(text) == expected


def test_initiate_with_a_key_that_is_no_xml():
    body = b"<InitiateMultipartUploadResult><Key>a\x01b</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
    assert xml.parse_initiate(body) == "u1"


def test_copy_result():
    stored = xml.parse_stored(b"<CopyObjectResult><ETag>\"e\"</ETag><CRC64>18446744073709551615</CRC64>"
                              b"<LastModified>2020-04-10T18:20:30Z</LastModified></CopyObjectResult>",
                              "CopyObjectResult")
    assert (stored.etag, stored.crc64, stored.last_modified_s) == ("e", 2**64 - 1, 1586542830.0)


def test_list_uploads():
    uploads, following = xml.parse_list_uploads(
        b"<ListMultipartUploadsResult><Encoding-Type>url</Encoding-Type><Upload><Key>a%2Bb</Key><UploadId>u</UploadId>"
        b"<Initiated>2020-12-10T03:37:30.000Z</Initiated></Upload><IsTruncated>true</IsTruncated>"
        b"<NextKeyMarker>a%2Bb</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker></ListMultipartUploadsResult>")
    assert uploads[0].key == "a+b" and following == ("a+b", "u")


def test_delete_body_names_keys_exactly():
    keys = ["a<b>&\"'", "line\nbreak\ttab\rreturn", "ü"]
    root = ElementTree.fromstring(xml.delete_body(keys))
    assert [element.text for element in root.iter("Key")] == keys
    assert root.findtext("Quiet") == "true"
    assert not xml.is_xml_text("bell\x07") and not xml.is_xml_text("\udcff")


@pytest.mark.parametrize("body, expected", [
    (b"<Error><Code>x</Code></Error>", True), (b"   <?xml version='1.0' ?>\n<Error>", True),
    (b"<ErrorResult/>", False), (b"<CopyObjectResult><Error/></CopyObjectResult>", False), (b"", False)])
def test_error_inside(body, expected):
    assert xml.is_error(body) is expected


def test_dict_of_xml_has_the_shape_of_the_official_sdk():
    body = b"<R a='1'><One>1</One><Many>1</Many><Many>2</Many><Empty/><Deep><X>y</X></Deep></R>"
    assert sdk_xml.to_dict(body) == {"a": "1", "One": "1", "Many": ["1", "2"], "Empty": None, "Deep": {"X": "y"}}
    assert sdk_xml.to_dict(body, lists=("One", "Empty", "Absent"))["One"] == ["1"]
    assert sdk_xml.to_dict(b"<VersioningConfiguration/>") == {"VersioningConfiguration": None}


def test_xml_of_dict():
    body = sdk_xml.from_dict("Delete", {"Object": [{"Key": "a&b"}, {"Key": "c"}], "Quiet": True, "None": None})
    assert body == (b"<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>c</Key></Object>"
                    b"<Quiet>true</Quiet><None></None></Delete>")
    for wrong in ({"a b": 1}, {"a": "\x01"}):
        with pytest.raises(InvalidParameter):
            sdk_xml.from_dict("R", wrong)


VERSION = ("<Version><Key>{}</Key><VersionId>{}</VersionId><IsLatest>{}</IsLatest><LastModified>{}</LastModified>"
           "<ETag>\"e\"</ETag><Size>5</Size><StorageClass>ARCHIVE</StorageClass><Owner><ID>1</ID></Owner></Version>")
MARKER = ("<DeleteMarker><Key>{}</Key><VersionId>{}</VersionId><IsLatest>{}</IsLatest><LastModified>{}</LastModified>"
          "<Owner><ID>1</ID></Owner></DeleteMarker>")
TIMES = ("2020-12-10T03:37:32.000Z", "2020-12-10T03:37:31.000Z", "2020-12-10T03:37:30.000Z")
A_MARKER, A_OLD = MARKER.format("a%20b", "m", "true", TIMES[0]), VERSION.format("a%20b", "v1", "false", TIMES[1])
B_NEW, B_MARKER, B_OLD = (VERSION.format("b", "v2", "true", TIMES[0]), MARKER.format("b", "m", "false", TIMES[1]),
                          VERSION.format("b", "", "false", TIMES[2]))


@pytest.mark.parametrize("rows", [(A_MARKER, A_OLD, B_NEW, B_MARKER, B_OLD), (A_OLD, B_NEW, B_OLD, A_MARKER, B_MARKER)],
                         ids=["among-each-other", "each-kind-by-itself"])
def test_versions_come_by_key_and_age(rows):
    page = xml.parse_list_versions(listing(*rows, "<CommonPrefixes><Prefix>c%2Bd/</Prefix></CommonPrefixes>",
                                           root="ListVersionsResult"))
    assert [(row.key, row.version_id, row.is_marker, row.is_latest) for row in page.versions] == [
        ("a b", "m", True, True), ("a b", "v1", False, False),
        ("b", "v2", False, True), ("b", "m", True, False), ("b", "null", False, False)]
    assert (page.versions[1].size_bytes, page.versions[1].etag, page.versions[1].storage_class,
            page.versions[1].last_modified_s) == (5, "e", "ARCHIVE", 1607571451.0)
    assert page.prefixes == ("c+d/",)
    assert page.next_marker is None


def test_where_a_listing_of_versions_goes_on():
    head = ("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>a%20b</NextKeyMarker>"
            "<NextVersionIdMarker>{}</NextVersionIdMarker>")
    for version_id in ("v1", ""):
        page = xml.parse_list_versions(listing(A_MARKER, head=head.format(version_id), root="ListVersionsResult"))
        assert page.next_marker == ("a b", version_id)
    with pytest.raises(InvalidAnswer):
        xml.parse_list_versions(listing(head="<IsTruncated>true</IsTruncated>", root="ListVersionsResult"))


@pytest.mark.parametrize(("body", "status"), [
    (b"<VersioningConfiguration/>", ""), (b"<VersioningConfiguration></VersioningConfiguration>", ""),
    (b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", "Enabled"),
    (b'<VersioningConfiguration xmlns="http://s3.example/"><Status>Suspended</Status></VersioningConfiguration>',
     "Suspended"), (b"<GetBucketVersioningResponse><Status>Enabled</Status></GetBucketVersioningResponse>", "Enabled")])
def test_the_status_of_versioning(body, status):
    assert xml.parse_versioning(body) == status
    with pytest.raises(InvalidAnswer):
        xml.parse_versioning(listing())
