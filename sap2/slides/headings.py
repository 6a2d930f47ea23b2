"""Detection of a people table's columns (names, organisations) from headings in several languages and spellings."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Columns", "columns_of", "field_kind", "words_of"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of headings, without accents and in lower case.
OTHER = _words(
    """abstract address adresa adresse adres bio biografia biografie biographie biography blog category code count
    country date datum day description description dni duration email end field file filename format github handle
    hash homepage id image job key kind language license link linkedin location mail mobile model number ort package
    phone photo picture plz position price profile pronouns ref role rolle room salutation sex slug start state status
    street tag telefon telephone theme thema time timestamp title titel titre titolo titulo tool topic track twitter
    type tz url user username utilisateur uuid venue version web website year zip zeit"""
)
ORGANISATION = _words(
    """affiliation affiliations affiliazione afiliacao afiliacion arbeitgeber azienda bedrijf company companies
    empleador empresa employer entreprise etablissement firma firmy foretag hochschule institut institute institutie
    institucion instituicao institution institutions instituto instytucja lab laboratory org organisaatio organisasjon
    organisatie organisation organisations organisme organizacion organizacja organizacao organization organizations
    organizzazione societe uczelnia universidad universidade universita universitat universite universiteit universitet
    university virksomhed yritys компания организация университет учреждение 公司 所属 会社 単位"""
)
GIVEN = _words(
    """etunimi firstname forename forenames fornamn fornavn given givenname imie imiona jmeno prenom prenoms voornaam
    vorname vornamen имя"""
)
FAMILY = _words(
    """achternaam apellido apellidos cognome efternamn efternavn etternavn familienname famiglia familie famille family
    familyname lastname nachname nachnamen nazwisko nazwiska prijmeni sobrenome sukunimi surname surnames фамилия"""
)
NAME = _words("fullname displayname naam nafn name namen names namn navn nimi nom nombre nombres nome nomi noms ime")
ROLE = _words(
    """attendee attendees auteur auteurs author authors autor autora autore autoren autores autori chair chairs
    conferencier conferenciere conferenciers contributor contributors deelnemer deelnemers docente dozent dozentin
    dozenten editor editors facilitator forfatter foredragsholder gast guest guests host hosts instructor
    instructors intervenant intervenante intervenants keynoter lecturer lecturers member members mitglied
    mitglieder moderator moderators moderatore orador oradora orateur orateurs organizer organizers oratore osoba
    palestrante panelist panelists panellist partecipante participant participante participantes participants
    people person persona personas persone personen persons ponente ponentes prelegent prelegenci presenter
    presenters professor puhuja redner rednerin referent referenten referentin relatore relatori speaker speakers
    spreker sprekers sprecher sprecherin sprecherinnen student students talare teacher teilnehmer teilnehmerin
    teilnehmerinnen uczestnik vortragende vortragenden vortragender автор авторы ведущий докладчик докладчики
    спикер участник участники фио 姓名 名前 氏名 讲者 演讲者 이름 اسم"""
)
FIRST, LAST = _words("first given fore vor"), _words("last family sur second")
FILLING = _words("1 2 3 badge co complet completo complete display e full invited keynote legal main preferred public")
PERSON = "full", "given", "family"


@dataclass(frozen=True)
class Columns:
    """Indices of a table's columns by content."""

    full: tuple[int, ...] = ()
    given: int | None = None
    family: int | None = None
    organisation: tuple[int, ...] = ()

    @property
    def people(self) -> tuple[int, ...]:
        """All columns that hold a person's name or a part of it."""
        return (*self.full, *(column for column in (self.given, self.family) if column is not None))


def columns_of(heading: Sequence[str]) -> Columns:
    """Return the columns of people and of organisations, given a table's first line.

    >>> columns_of(["person_name", "person_institution", "event_year"])
    Columns(full=(0,), given=None, family=None, organisation=(1,))
    >>> columns_of(["Nom", "Prénom", "E-mail"])
    Columns(full=(), given=1, family=0, organisation=())
    """
    kinds = [field_kind(cell) for cell in heading]
    given, family = (kinds.index(kind) if kind in kinds else None for kind in ("given", "family"))
    # "nombre" is a full name, and a given name beside "apellidos"; "nom" a family name beside "prénom".
    plain = [column for column, kind in enumerate(kinds) if kind == "full" and words_of(heading[column]) <= NAME]
    if plain and given is None and family is not None:
        given = plain[0]
    elif plain and family is None and given is not None:
        family = plain[0]
    full = [column for column, kind in enumerate(kinds) if kind == "full" and column not in (given, family)]
    organisations = [column for column, kind in enumerate(kinds) if kind == "organisation"]
    return Columns(tuple(full), given, family, tuple(organisations))


def field_kind(heading: str) -> str | None:
    """Classify a column or field by its heading: "full", "given" or "family" name, "organisation", or None.

    >>> [field_kind(cell) for cell in ("Presenter", "firstName", "Nom de famille", "company name", "Speaker e-mail")]
    ['full', 'given', 'family', 'organisation', None]
    """
    words = words_of(heading) - _words("a and d da de der des die do du e et i l la le les of the und y")
    if not words or len(words) > 4 or words & OTHER or re.search(r"e-?mail", heading, re.IGNORECASE):
        return None
    if words & ORGANISATION:
        return "organisation"
    given = bool(words & GIVEN or (words & (NAME | FAMILY) and words & FIRST))
    family = bool(words & FAMILY or (words & NAME and words & LAST))
    if given != family:
        return "given" if given else "family"
    if given or words & ROLE or (words & NAME and words <= NAME | FILLING):
        return "full"
    return None


def words_of(heading: str) -> frozenset[str]:
    """Split a heading, also in snake case or camel case, into lower-case words without accents.

    >>> sorted(words_of("fullName")), sorted(words_of("PRÉNOM_2"))
    (['full', 'name'], ['2', 'prenom'])
    """
    heading = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", heading)
    bare = "".join(char for char in unicodedata.normalize("NFKD", heading) if not unicodedata.combining(char))
    return frozenset(re.findall(r"[^\W_]+", bare.casefold()))
