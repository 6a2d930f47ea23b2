"""Removal of slide text that is never spoken: addresses, hosts, paths, hashes, identifiers of code."""

import re

__all__ = ["CUT", "sayable"]

CUT = " | "  # replaces removed text, so that the words around it do not look adjacent
TOP_LEVEL = "|".join(
    "ai app at au be br ca cgi ch cloud cn co com cz de dev dk edu es eu fi fr gov in info int io it jp kr me net nl "
    "no org pl pt ru se tv ua uk us xyz".split()
)
EXTENSIONS = "|".join(
    "c cc cgi conf cpp csv cu docx? exe gif go gz h hpp html? ini ipynb java jpe?g json log md mp[34] mpg pdf php pl "
    "png pptx? ps py rb rs sh so sql svg tar tex toml ts tsv txt wav xlsx? xml ya?ml zip".split()
)
PATTERNS = (
    r"(?<!\S)\S*(?:://|@)\S*|\bwww\.\S+",  # addresses, handles
    r"\b(?:urn|did|doi|arxiv|arXiv|data):\S+|\[[a-z-]+\.[A-Z]{2}\]",
    rf"(?<![\w.@-])(?:[\w-]+\.)+(?:{TOP_LEVEL})(?![\w-]|\.\w)(?:[:/]\S*)?",  # hosts
    rf"(?<![\w.])[\w.+-]+\.(?:{EXTENSIONS})(?![\w.])(?:[#?]\S*)?",  # files
    r"(?<![\w/])(?:~|\.{1,2})?(?:/[\w.+*-]+){1,}/?|\b[A-Za-z]:\\\S*|\S*\\\S*",  # paths
    r"\b(?:application|audio|font|html|image|message|model|multipart|text|video)/[\w.+*-]+",  # media types
    r"(?<![\w-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![\w-])",  # UUIDs
    r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{6,}\b|#[0-9a-fA-F]{3,8}\b",  # hexadecimal
    r"\b(?=\w*\d\w*[A-Za-z]|\w*[A-Za-z]\w*\d)(?=(?:\w*\d){3})\w{9,}(?:-\w+)*\b",  # keys, hashes: AuV54x9k2
    r"\b\d{4}-\d\d-\d\d(?:T[\d:.]+Z?)?|\b\d+(?:\.\d+){2,}\S*",  # times, IPv4
    r"(?<!\S)(?=\S*:\S*:)[0-9a-fA-F:]+(?:/\d+)?(?!\S)",  # IPv6
    r"(?<![\w-])--?[a-z][\w-]*(?==)|(?<!\S)--[a-z][\w-]+",  # options
    r"(?<!\S)\$\s\S+|\S*(?:<-|->|=>|==|!=|:=|::|&&|\|\||\w\$\w)\S*",  # shell, operators
    r"\b\w+\s*<-\s*\w[\w.]*|\b\w+=[\w\"']\S*",  # assignments
    r"</?[A-Za-z][^<>]*>",  # tags
    r"\b[A-Za-z]\w*_\w+\b|\b_\w+",  # snake case
    r"\b[A-Za-z][\w.]*\((?:[^()]*[=\"',;$\[][^()]*)?\)",  # calls: boot(data=x), f()
    r"\b[A-Za-z][\w.]*\[[^\[\]]*\]",  # subscripts
    r"[\"'“]\w+[\"'”]\s*:(?=\s)",  # fields of JSON
)
UNSAYABLE = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS))
ENDLESS = re.compile(r"[!-~]{100,}")  # without a space: never spoken, and quadratic time for some patterns
CODE = re.compile(
    r"^\s*[{}]|[{}]\s*$|\w[=(].*;\s*$"
    r"|^\s*(?:import|from|def|class|return|void|#include|let|const|var)\s+\w+.*[;:({=]"
)


def sayable(line: str) -> str:
    """Remove text that is never spoken from a line; a line of code becomes empty.

    >>> sayable("see 550e8400-e29b-41d4-a716-446655440000, zorvan.org and /var/log/maillog of OpenBSD's spamd(8)")
    "see  | ,  |  and  |  of OpenBSD's spamd(8)"
    >>> sayable("Node.js and TCP/IP, desktop/mobile; pf_table foo.cpp 0x100000ece")
    'Node.js and TCP/IP, desktop/mobile;  |   |   | '
    """
    return "" if CODE.search(line) else UNSAYABLE.sub(CUT, ENDLESS.sub(CUT, line))
