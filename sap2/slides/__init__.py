"""Decks, agendas and lists to keywords by page, and which page was shown when. Needs no torch."""

from sap2.slides.keywords import Keyword, deck_keywords, read_keywords
from sap2.slides.reading import Deck, Options, Page, read_deck

__all__ = ["Deck", "Keyword", "Options", "Page", "deck_keywords", "read_deck", "read_keywords"]
