"""Lists of people in any format give their people and organisations, and never the name of a field."""

import json

import pytest

from sap2.errors import InputError
from sap2.slides import read_deck
from sap2.slides.keywords import slides_keywords

BOTH = ["Kathryn Zorvan", "Qaylen Brestovic"]


@pytest.fixture
def listed(tmp_path):
    """Write a file and read its names by reason, all keywords, and notices."""

    def listed(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        deck = read_deck(path)
        given: dict[str, list[str]] = {}
        for page in deck.pages:
            given.setdefault(page.reason, []).extend(page.given)
        result = slides_keywords([path])
        assert all(row.page == 0 for row in result.keywords), "people belong to no page"
        return given, {row.keyword for row in result.keywords}, result.notices

    return listed


@pytest.mark.parametrize(
    "content",
    [
        "person_name,person_institution,event_year\nKathryn Zorvan,EMBL,2023\nQaylen Brestovic,Intel,2023\n",
        'Presenter,Affiliation\n"Zorvan, Kathryn",EMBL\nQaylen Brestovic,Intel\n',
        "SPEAKER NAME;Company;E-mail\nKathryn Zorvan;EMBL;k@example.com\nQaylen Brestovic;Intel;q@example.com\n",
        "Vorname;Nachname;Firma\nKathryn;Zorvan;EMBL\nQaylen;Brestovic;Intel\n",
        "Nom,Prénom,Société\nZorvan,Kathryn,EMBL\nBrestovic,Qaylen,Intel\n",
        "Nombre;Apellidos;Empresa\nKathryn;Zorvan;EMBL\nQaylen;Brestovic;Intel\n",
        "firstName\tlastName\torganisation\nKathryn\tZorvan\tEMBL\nQaylen\tBrestovic\tIntel\n",
        "Имя,Фамилия,Компания\nKathryn,Zorvan,EMBL\nQaylen,Brestovic,Intel\n",
        "sep=|\r\nAuthor|Institute\r\nKathryn Zorvan|EMBL\r\nQaylen Brestovic|Intel\r\n",
        "Session chair,University\nProf. Dr. Kathryn Zorvan,EMBL\nQaylen Brestovic PhD,Intel\n",
        'name,org\n"Kathryn Zorvan (she/her)",EMBL\n"Qaylen Brestovic, PhD",Intel\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_people_are_read_from_a_table_with_any_heading(listed, content, encoding):
    given, keywords, notices = listed("a.csv", content.encode(encoding))
    assert given == {"person": BOTH, "organisation": ["EMBL", "Intel"]} and notices == []
    assert keywords >= {*BOTH, "EMBL", "Intel", "Zorvan"}
    assert {word for keyword in keywords for word in keyword.split()} <= {
        *"Kathryn Zorvan Qaylen Brestovic EMBL Intel".split()
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "Kathryn Zorvan,Intel,speaker\nQaylen Brestovic,Foobar,chair\n"),
        ("a.csv", "3;Kathryn Zorvan;2024\n4;Qaylen Brestovic;2025\n"),
        ("a.csv", "wer,wann\nKathryn Zorvan,2024\nQaylen Brestovic,2025\n"),
        ("a.csv", "Kathryn Zorvan\nQaylen Brestovic\n"),
        ("a.tsv", "name\ttitle\nKathryn Zorvan\tKeynote\nQaylen Brestovic\tPanel\n"),
    ],
    ids=["no heading", "no heading, numbers", "unknown heading", "single column", "tsv"],
)
def test_columns_of_people_are_detected_from_their_cells(listed, name, content):
    given, keywords, _ = listed(name, content)
    assert given["person"] == BOTH
    assert not keywords & {"speaker", "chair", "wer", "wann", "name", "title", "Kathryn Zorvan Keynote"}


def test_several_people_in_a_cell_are_separated(listed):
    given, *_ = listed("a.csv", "authors,year\nKathryn Zorvan and Qaylen Brestovic,3\nJon Quine; Ann Meyer,4\n")
    assert given["person"] == [*BOTH, "Jon Quine", "Ann Meyer"]


def test_a_table_without_people_gets_a_notice(listed):
    _, keywords, notices = listed("a.csv", "event_year,room_number\n2023,Zorvan\n2024,Kaldi\n")
    assert "Kaldi" in keywords and not keywords & {"event_year", "room_number", "year", "room"}
    assert [notice.split(": ", 1)[1] for notice in notices] == [
        "no column of people among 'event_year', 'room_number'; expected a heading such as name, speaker"
    ]


def test_a_table_in_another_encoding_is_read_with_a_notice(listed):
    given, _, notices = listed("a.csv", "Name\nJosé Zorvan\n".encode("cp1252"))
    assert given == {"person": ["José Zorvan"]}
    assert [notice.split(": ", 1)[1] for notice in notices] == [
        "is not UTF-8: read as Windows-1252; check accented names"
    ]


CARDS = (
    "BEGIN:VCARD\r\nVERSION:4.0\r\nN:Zorvan;Kathryn;;;\r\nFN:Kathryn Zor\r\n van\r\nORG:EMBL;Heidelberg\r\n"
    "EMAIL;TYPE=work:kathryn@example.com\r\nEND:VCARD\r\n"
    "BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Weiler-J=C3=B6nsson;Anna;;Dr.;\r\n"
    "item1.ORG:Foo\\, Bar\r\nEND:VCARD\r\n"
)


@pytest.mark.parametrize("name", ["people.vcf", "people.txt"])
def test_people_are_read_from_an_address_book(listed, name):
    given, keywords, _ = listed(name, CARDS)
    assert given == {"person": ["Kathryn Zorvan", "Anna Weiler-Jönsson"], "organisation": ["EMBL", "Foo, Bar"]}
    assert not keywords & {"VCARD", "FN", "ORG", "VERSION", "UTF-8", "EMAIL", "TYPE", "Foo, Bar"}


def test_people_are_read_from_a_calendar(listed):
    given, keywords, _ = listed(
        "agenda.ics",
        "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nDTSTART:20240701T213000Z\nUID:20240702T130403Z@example.com\n"
        'ORGANIZER;CN="Brestovic, Qaylen":mailto:q@example.com\nSUMMARY:Kathryn Zorvan - Keynote on Rspamd\\, at last\n'
        "LOCATION:Aula Magna\nEND:VEVENT\nEND:VCALENDAR\n",
    )
    assert given == {"person": ["Qaylen Brestovic"]}
    assert keywords >= {*BOTH, "Rspamd"}
    assert not keywords & {"VEVENT", "VCALENDAR", "DTSTART", "UID", "SUMMARY", "Keynote", "CN", "20240702T130403Z"}


PRETALX = {
    "schedule": {
        "url": "https://pretalx.example.org/x/schedule/",
        "conference": {
            "acronym": "xcon-26",
            "title": "XCon",
            "rooms": [{"name": "Aula Magna", "guid": "2cdda5c8-e50e-4db4-b5f0-9722a649f455"}],
            "tracks": [{"name": "Kaldi Track", "color": "#00ff00"}],
            "days": [
                {
                    "index": 1,
                    "rooms": {
                        "Aula Magna": [
                            {
                                "title": "Spam and Rspamd",
                                "type": "Talk",
                                "persons": [
                                    {"code": "ABC123", "public_name": "Kathryn Zorvan", "biography": "Loves Vulkan"},
                                    {"code": "DEF456", "name": "Qaylen Brestovic", "guid": "x"},
                                ],
                            }
                        ]
                    },
                }
            ],
        },
    }
}
SESSIONIZE = {
    "sessions": [{"id": "1", "title": "Spam and Rspamd", "speakers": ["7b1d-44", "8c2e-55"], "categoryItems": [3]}],
    "speakers": [
        {"id": "7b1d-44", "firstName": "Kathryn", "lastName": "Zorvan", "fullName": "Kathryn Zorvan", "links": []},
        {"id": "8c2e-55", "firstName": "Qaylen", "lastName": "Brestovic", "tagLine": "Engineer"},
    ],
    "rooms": [{"id": 9, "name": "Aula Magna", "sort": 0}],
    "categories": [{"id": 3, "title": "Level", "items": [{"id": 4, "name": "Introductory Level"}]}],
}
GRID = [
    {
        "date": "2026-01-01T00:00:00",
        "rooms": [
            {
                "name": "Aula Magna",
                "sessions": [
                    {"title": "Spam and Rspamd", "speakers": [{"id": "a", "name": name} for name in BOTH], "room": "x"}
                ],
            }
        ],
    }
]
FRAB = {
    "schedule_speakers": {
        "version": "1",
        "speakers": [
            {"id": 1, "full_public_name": name, "abstract": "", "links": [], "events": [{"title": "Spam and Rspamd"}]}
            for name in BOTH
        ],
    }
}


@pytest.mark.parametrize(
    "content",
    [
        PRETALX,
        SESSIONIZE,
        GRID,
        FRAB,
        [{"name": name, "title": "Spam and Rspamd"} for name in BOTH],
        {"results": [{"code": "A", "name": name, "talks": [{"title": "Spam and Rspamd"}]} for name in BOTH]},
        [{"title": "Spam and Rspamd", "speaker": "Kathryn Zorvan, Qaylen Brestovic"}],
        [{"title": "Spam and Rspamd", "presenters": BOTH}],
    ],
    ids=["pretalx", "sessionize", "sessionize grid", "frab", "speakers", "pretalx speakers", "single field", "strings"],
)
def test_people_are_read_from_a_json_schedule(listed, content):
    given, keywords, _ = listed("schedule.json", json.dumps(content))
    assert given["person"] == BOTH
    assert "Rspamd" in keywords
    fields = {"public_name", "fullName", "speakers", "title", "Aula Magna", "Introductory Level", "Kaldi Track", "guid"}
    assert not keywords & fields


def test_authors_are_read_from_a_bibliography(listed):
    content = (
        '@article{zorvan2019, author = {Zorvan, Kathryn and J{\\"o}rg van der Meer and others}, title = {The {K}aldi '
        "toolkit}, month = october, journal = unknownjournal, year = 2019}\n@misc{b, editor = {Qaylen Brestovic}}"
    )
    given, keywords, notices = listed("papers.bib", content)
    assert given == {"author": ["Kathryn Zorvan", "Jörg van der Meer", "Qaylen Brestovic"]}
    assert "Kaldi" in keywords and not keywords & {"october", "unknownjournal", "author", "others"}
    assert [notice.split(": ", 1)[1] for notice in notices] == [
        "undefined macros, read as their names: october, unknownjournal"
    ]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "name\n", "holds no names, expected a table with a heading"),
        ("a.vcf", "BEGIN:VCARD\nVERSION:4.0\nEND:VCARD\n", "holds no names, expected cards with FN or N"),
        ("a.ics", "BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n", "expected events with a summary"),
        ("a.json", '{"version": 3, "rooms": [{"name": "Aula Magna"}]}', "expected speakers or talks as pretalx"),
        ("a.json", '"Kathryn Zorvan"', "expected speakers or talks as pretalx"),
        ("a.json", '{"speakers": [', "is not readable JSON"),
        ("a.json", "[" * 100_000, "is not readable JSON|nested too deeply"),
        ("a.bib", "Kathryn Zorvan", "holds no names, expected entries with author"),
        ("a.csv", b"name\n\0\xff\n", "is not text"),
        ("a.csv", "", "is empty"),
    ],
)
def test_a_list_without_people_is_an_error(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=reason):
        slides_keywords([tmp_path / name])


@pytest.mark.parametrize("piece", [";", '"', "BEGIN:VCARD\n", "N:;", "\n ", "\\", "(", "and ", "{", "@a{", ",", "A. "])
@pytest.mark.parametrize("ending", ["csv", "vcf", "ics", "bib"])
def test_no_list_ends_in_a_traceback(tmp_path, piece, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text("name\nKathryn" + piece * 500)
    try:
        slides_keywords([path])
    except InputError as error:
        assert str(path) in str(error)
