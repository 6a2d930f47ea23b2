"""Recordings to text, slides to keywords, and the demo page."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sap2.cli.options import ModelSetOption, finite, setting_changes
from sap2.errors import InputError

app = typer.Typer()


OcrOption = Annotated[
    Literal["auto", "always", "never"],
    typer.Option("--ocr", help="Of slides: auto reads what has no readable text; always whole pages and all pictures."),
]
NotesOption = Annotated[bool, typer.Option("--notes", help="Read the speaker's notes of PPTX and ODP slides, too.")]
KeywordsOption = Annotated[str | None, typer.Option(metavar="LIST", help="Words to expect, separated by commas.")]
KeywordsFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Words to expect, one a line or separated by commas; or an index of them."),
]
ModelOption = Annotated[
    str, typer.Option(metavar="DIR", help="Folder with base, pruner and recogniser, or models:/NAME/VERSION.")
]
SlideTimesOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Lines of time and page, or a video with a chapter a page.")
]
SlideContextOption = Annotated[
    int, typer.Option(min=0, metavar="K", help="Pages before and after those shown whose keywords are listed too.")
]
LanguageOption = Annotated[
    str | None, typer.Option(metavar="CODE", help="Of the slides: en, de, fr, …; guessed by default.")
]
JournalOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With slides: segments done go there; the next run resumes.")
]


@app.command(epilog='Example: sap2 transcribe talk.wav --keywords "Meyer, Kathryn, Zorvan" --show-keywords')
def transcribe(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="WAV, FLAC, MP3, Ogg, M4A, MP4, WebM and others, any rate; of a video its sound."
        ),
    ],
    keywords: KeywordsOption = None,
    keywords_file: KeywordsFileOption = None,
    model: ModelOption = "models",
    pruner_model: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A whole checkpoint for stage 1; --model is then one for stage 2."),
    ] = None,
    show_keywords: Annotated[
        bool, typer.Option("--show-keywords", help="Say which words of the list were found.")
    ] = False,
    max_segment: Annotated[
        float | None,
        typer.Option(min=1, callback=finite, help="Seconds of the parts of a long recording, at most 30."),
    ] = None,
    segment_overlap: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Seconds two parts share where no pause is in reach.")
    ] = None,
    slides: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What was shown: as `sap2 keywords` takes it, or its list. Repeatable."),
    ] = None,
    slide_times: SlideTimesOption = None,
    slide_context: SlideContextOption = 2,
    language: LanguageOption = None,
    ocr: OcrOption = "auto",
    notes: NotesOption = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="With slides: list, stage 1's choice, and text without it, by segment.")
    ] = False,
    journal: JournalOption = None,
    format_: Annotated[
        Literal["text", "json", "srt", "vtt", "md"],
        typer.Option("--format", help="json has a line a recording; md, with slides, marks each keyword."),
    ] = "text",
    set_: ModelSetOption = None,
) -> None:
    """Print the text of recordings, with a keyword list.

    With slides each segment of a talk gets the keywords of what was shown meanwhile, by --slide-times, the recording's
    chapter marks where it has one a page, or else what is said:
    sap2 transcribe talk.wav --slides deck.pdf --format md"""
    from sap2 import stages
    from sap2.inference.keyword_files import read_keywords
    from sap2.transcripts.formats import subtitles, verbose
    from sap2.transcripts.transcript import left_out_notice, warning_of

    overrides = setting_changes(set_, max_segment, segment_overlap)
    if slides:
        if len(files) > 1:
            raise typer.BadParameter(f"expected one recording with --slides, got {len(files)}")
        from sap2.transcripts.talk_formats import rendered

        talk, notices = stages.transcribe_talk(
            files[0], slides, read_keywords(keywords, keywords_file), slide_times, slide_context, language, explain,
            journal, model, pruner_model, overrides, ocr, notes,
        )  # fmt: skip
        said = filter(None, (left_out_notice(talk.transcript), warning_of(talk.transcript)))
        notices = [*notices, *(f"{files[0]}: {one}" for one in said)]
        for notice in notices:
            print(f"sap2: {notice}", file=sys.stderr)
        print(rendered(talk, files[0].name, format_, explain, show_keywords), end="")
        return
    if slide_times or explain or journal or format_ == "md":
        raise typer.BadParameter("--slide-times, --explain, --journal and --format md go with --slides")
    if format_ in ("srt", "vtt") and len(files) > 1:
        raise typer.BadParameter(f"expected one recording for --format {format_}, got {len(files)}")
    listed = read_keywords(keywords, keywords_file)
    failed = 0
    for path, outcome in stages.transcribe_files(files, listed, model, pruner_model, overrides):
        if isinstance(outcome, InputError):
            print(f"sap2: {outcome}", file=sys.stderr)
            failed += 1
            continue
        for notice in filter(None, (left_out_notice(outcome), warning_of(outcome))):
            print(f"sap2: {path}: {notice}", file=sys.stderr)
        if format_ == "json":
            print(json.dumps({"file": str(path)} | verbose(outcome), ensure_ascii=False))
            continue
        if format_ in ("srt", "vtt"):
            print(subtitles(outcome, format_))
            continue
        print(f"{path}: {outcome.text}" if len(files) > 1 else outcome.text)
        if show_keywords:
            print(f"  keywords found: {', '.join(outcome.found) or 'none'}")
    if failed:
        raise typer.Exit(1)


@app.command(
    epilog="\b\nExample: sap2 talk talk.mp4 deck.pdf\n         sap2 talk talk.wav deck.pptx speakers.csv --out page\n"
    "         sap2 talk talk.wav deck.pdf --slide-times times.tsv"
)
def talk(
    recording: Annotated[
        Path,
        typer.Argument(metavar="RECORDING", help="WAV, FLAC, MP3, M4A, MP4, WebM and others; of a video its sound."),
    ],
    deck: Annotated[
        list[Path], typer.Argument(metavar="DECK...", help="What was shown, and lists: as `sap2 keywords` takes them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write; RECORDING's name with .talk, beside it, by default."),
    ] = None,
    keywords: KeywordsOption = None,
    keywords_file: KeywordsFileOption = None,
    model: ModelOption = "models",
    slide_times: SlideTimesOption = None,
    slide_context: SlideContextOption = 2,
    language: LanguageOption = None,
    ocr: OcrOption = "auto",
    notes: NotesOption = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show what the context changed also where times are known: one more pass."),
    ] = False,
    journal: JournalOption = None,
    set_: ModelSetOption = None,
) -> None:
    """Write a talk's text, and a page with its slides.

    Into DIR: talk.html (one file for any browser; a click on a word plays it), transcript.txt, transcript.srt and
    transcript.json. A folder that this command wrote is replaced; any other that holds files is refused. Prints what
    was used; what was dropped or guessed goes to stderr."""
    from sap2 import stages
    from sap2.inference.keyword_files import read_keywords

    summary, notices = stages.write_talk(
        recording, deck, out, read_keywords(keywords, keywords_file), slide_times, slide_context, language, explain,
        journal, model, setting_changes(set_), ocr, notes,
    )  # fmt: skip
    for notice in notices:
        print(f"sap2: {notice}", file=sys.stderr)
    print(summary)


@app.command(epilog="Example: sap2 index glossary.txt && sap2 transcribe talk.wav --keywords-file glossary.index")
def index(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Keywords, one a line or separated by commas; # begins a comment.")
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write; FILE with the ending .index by default.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="As `sap2 transcribe` takes it.")] = "models",
) -> None:
    """Prepare a long keyword list once.

    The index stands in the list's place: sap2 transcribe --keywords-file glossary.index; beside the slides of sap2 talk
    and sap2 demo; and sap2 serve --indexes DIR, whose requests say index=glossary. An index of another base, or of a
    list that lies beside it and has changed, is refused. Lists longer than pruning.prefilter.keep are cut by their
    sound: -S pruning.prefilter.keep=200 switches that on."""
    from sap2 import stages

    print(stages.index(file, output or file.with_suffix(".index"), model))


@app.command(epilog="Example: sap2 keywords deck.pdf speakers.csv > keywords.tsv")
def keywords(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="PDF, PPTX, ODP, picture, Markdown, HTML, text; people as CSV, vCard, iCalendar, BibTeX, JSON.",
        ),
    ],
    language: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="Of the slides; says which words are rare: en, de, fr, …; guessed by default."
        ),
    ] = None,
    ocr: OcrOption = "auto",
    notes: NotesOption = False,
    max_keywords: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep the N most useful: names, then terms and acronyms.")
    ] = None,
    format_: Annotated[Literal["tsv", "json"], typer.Option("--format", help="Both can be edited and read back.")] = (
        "tsv"
    ),
) -> None:
    """Print the keywords of slides, with page and reason.

    Names, products' spellings, acronyms and rare words, page by page, the most useful first; and how each is said,
    where that differs. OCR reads pages without readable text and slides' pictures. Pages of several files count on.
    Edit the list, then: sap2 transcribe talk.wav --slides keywords.tsv"""
    from sap2.slides import Options
    from sap2.slides.keywords import keywords_json, keywords_tsv, slides_keywords

    found = slides_keywords(files, language, Options(ocr, notes), max_keywords)
    for notice in found.notices:
        print(f"sap2: {notice}", file=sys.stderr)
    print((keywords_tsv if format_ == "tsv" else keywords_json)(found.keywords), end="")


@app.command(epilog="Example: sap2 demo --port 8080")
def demo(
    model: Annotated[str, typer.Option(metavar="MODEL", help="As `sap2 transcribe` takes it.")] = "models",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    max_segment: Annotated[
        float | None,
        typer.Option(min=1, callback=finite, help="Seconds of the parts of a long recording, at most 30."),
    ] = None,
    set_: ModelSetOption = None,
) -> None:
    """Open a page to try talks with slides.

    On this machine alone: upload a recording and slides, see and hear the names, edit the keywords, run again,
    download."""
    from sap2 import stages

    stages.demo(model, port, setting_changes(set_, max_segment))
