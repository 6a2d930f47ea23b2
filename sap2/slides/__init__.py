"""Extraction of keywords from decks, agendas and lists, page by page, and of the times at which pages were shown.

Does not need torch.
"""

from sap2.slides.keywords import Keyword, deck_keywords, read_keywords
from sap2.slides.reading import Deck, Options, Page, read_deck

__all__ = ["Deck", "Keyword", "Options", "Page", "deck_keywords", "read_deck", "read_keywords"]
