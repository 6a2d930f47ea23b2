"""Transcription of recordings and talks, keywords of slides, keyword indexes, and the demo page."""

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
    typer.Option(
        "--ocr", help="OCR of slides: auto = parts without readable text; always = entire pages, all pictures."
    ),
]
NotesOption = Annotated[bool, typer.Option("--notes", help="Also read the speaker's notes of PPTX and ODP slides.")]
KeywordsOption = Annotated[str | None, typer.Option(metavar="LIST", help="Keywords, separated by commas.")]
KeywordsFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keywords, separated by lines or commas (# begins a comment), or an index."),
]
ModelOption = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="Folder with base, pruner and recogniser; models:/NAME/VERSION; or english, included in the package "
        "and used without a folder models.",
    ),
]
SlideTimesOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Lines of time and page, or a video with a chapter per page.")
]
SlideContextOption = Annotated[
    int, typer.Option(min=0, metavar="K", help="Pages before and after the shown page whose keywords are also listed.")
]
LanguageOption = Annotated[
    str | None, typer.Option(metavar="CODE", help="Language of the slides: en, de, fr, …; guessed by default.")
]
JournalOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="With slides: file of finished segments, from which the next run resumes."),
]


@app.command(epilog='Example: sap2 transcribe talk.wav --keywords "Meyer, Kathryn, Zorvan" --show-keywords')
def transcribe(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="WAV, FLAC, MP3, Ogg, M4A, MP4, WebM and others, at any rate; video files for their audio.",
        ),
    ],
    keywords: KeywordsOption = None,
    keywords_file: KeywordsFileOption = None,
    model: ModelOption = "models",
    pruner_model: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Full checkpoint for stage 1; --model is then the checkpoint for stage 2."),
    ] = None,
    show_keywords: Annotated[
        bool, typer.Option("--show-keywords", help="Print the listed keywords that occur in the text.")
    ] = False,
    max_segment: Annotated[
        float | None,
        typer.Option(min=1, callback=finite, help="Seconds of the parts of a long recording, at most 30."),
    ] = None,
    segment_overlap: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Seconds shared by two parts if there is no pause to cut at."),
    ] = None,
    slides: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Slides: files that `sap2 keywords` reads, or its output. Repeatable."),
    ] = None,
    slide_times: SlideTimesOption = None,
    slide_context: SlideContextOption = 2,
    language: LanguageOption = None,
    ocr: OcrOption = "auto",
    notes: NotesOption = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="With slides: list, selected keywords, and text without keywords, by segment."),
    ] = False,
    journal: JournalOption = None,
    format_: Annotated[
        Literal["text", "json", "srt", "vtt", "md"],
        typer.Option("--format", help="json: a line per recording; md, with slides: marks each keyword."),
    ] = "text",
    set_: ModelSetOption = None,
) -> None:
    """Print the text of recordings, with a keyword list.

    With slides, each segment of a talk gets the keywords of the pages shown meanwhile. Their times come from
    --slide-times, from chapter marks if each page has a mark, or are estimated from the speech:
    sap2 transcribe talk.wav --slides deck.pdf --format md"""
    from sap2 import stages
    from sap2.inference.keyword_files import read_keywords
    from sap2.transcripts.formats import subtitles, verbose
    from sap2.transcripts.transcript import left_out_notice, warning_of

    overrides = setting_changes(set_, max_segment, segment_overlap)
    if slides:
        if len(files) > 1:
            raise typer.BadParameter(f"expected a single recording with --slides, got {len(files)}")
        from sap2.transcripts.talk_formats import rendered

        talk, notices = stages.transcribe_talk(
            files[0], slides, read_keywords(keywords, keywords_file), slide_times, slide_context, language, explain,
            journal, model, pruner_model, overrides, ocr, notes,
        )  # fmt: skip
        warnings = filter(None, (left_out_notice(talk.transcript), warning_of(talk.transcript)))
        notices = [*notices, *(f"{files[0]}: {warning}" for warning in warnings)]
        for notice in notices:
            print(f"sap2: {notice}", file=sys.stderr)
        print(rendered(talk, files[0].name, format_, explain, show_keywords), end="")
        return
    if slide_times or explain or journal or format_ == "md":
        raise typer.BadParameter("--slide-times, --explain, --journal and --format md need --slides")
    if format_ in ("srt", "vtt") and len(files) > 1:
        raise typer.BadParameter(f"expected a single recording for --format {format_}, got {len(files)}")
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
        typer.Argument(
            metavar="RECORDING", help="WAV, FLAC, MP3, M4A, MP4, WebM and others; video files for their audio."
        ),
    ],
    deck: Annotated[
        list[Path], typer.Argument(metavar="DECK...", help="Slides and lists: files that `sap2 keywords` reads.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write; default: RECORDING's name with .talk, next to it."),
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
        typer.Option(
            "--explain", help="Show what the keywords changed even if times are known, at the cost of another pass."
        ),
    ] = False,
    journal: JournalOption = None,
    set_: ModelSetOption = None,
) -> None:
    """Write a talk's text, and a page with its slides.

    DIR gets talk.html (a self-contained page; a click on a word plays it), transcript.txt, transcript.srt and
    transcript.json. A folder written by this command is replaced; any other folder with files is an error. Prints the
    inputs used; notices of dropped content and guessed settings go to stderr."""
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
        Path, typer.Argument(metavar="FILE", help="Keywords, separated by lines or commas; # begins a comment.")
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; default: FILE with the extension .index.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="As `sap2 transcribe` takes it.")] = "models",
) -> None:
    """Prepare a long keyword list once.

    The index replaces the list: sap2 transcribe --keywords-file glossary.index, among the slides of sap2 talk and sap2
    demo, and sap2 serve --indexes DIR, whose requests send index=glossary. An index of another base, or of a list that
    is in the same folder and has changed, is an error. Lists longer than pruning.prefilter.keep are shortened by their
    sound: -S pruning.prefilter.keep=200 enables that."""
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
        typer.Option(metavar="CODE", help="Language of the slides, for rare words: en, de, fr, …; guessed by default."),
    ] = None,
    ocr: OcrOption = "auto",
    notes: NotesOption = False,
    max_keywords: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep the N most useful: names, then terms and acronyms.")
    ] = None,
    format_: Annotated[Literal["tsv", "json"], typer.Option("--format", help="Both can be edited and read again.")] = (
        "tsv"
    ),
) -> None:
    """Print the keywords of slides, with page and reason.

    Names, unusual spellings, acronyms and rare words, page by page, the most useful first, with spoken forms that
    differ from the spelling. OCR reads pages without readable text and slides' pictures. Pages are numbered
    consecutively over several files. Edit the list, then: sap2 transcribe talk.wav --slides keywords.tsv"""
    from sap2.slides import Options
    from sap2.slides.keywords import keywords_json, keywords_tsv, slides_keywords

    listed = slides_keywords(files, language, Options(ocr, notes), max_keywords)
    for notice in listed.notices:
        print(f"sap2: {notice}", file=sys.stderr)
    print((keywords_tsv if format_ == "tsv" else keywords_json)(listed.keywords), end="")


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
    """Serve a local page to try talks with slides.

    Upload a recording and slides, see and hear the names, edit the keywords, run again, download. Only this machine
    can open the page."""
    from sap2 import stages

    stages.demo(model, port, setting_changes(set_, max_segment))
