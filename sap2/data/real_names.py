"""Real names outside the embedded corpus's families, on which the embedded base trains beside invented names.

Spelling of English names does not follow from their syllables; the corpus's own families belong to its splits
(`sap2.data.names`).
"""

__all__ = ["REAL_NAMES"]

REAL_NAMES = """
james robert michael david william richard joseph thomas charles daniel matthew anthony donald paul andrew
joshua kenneth kevin george timothy ronald edward jason ryan jacob gary jonathan justin scott brandon benjamin
samuel gregory alexander patrick jack dennis jerry peter harold douglas henry nathan walter kyle noah ethan
jeremy roger keith austin gerald terry arthur albert willie wayne ralph roy eugene louis russell bobby johnny
randy vincent ernest martin alice mary patricia jennifer linda barbara susan jessica karen nancy betty sandra
margaret ashley kimberly emily donna michelle carol amanda melissa dorothy stephanie cynthia kathleen amy angela
shirley brenda pamela emma samantha katherina debra janet helen maria heather diane ruth julie olivia joyce
virginia kelly lauren christina joan evelyn judith andrea cheryl jacqueline martha gloria grace judy denise
amber doris marilyn danielle beverly diana brittany natalie sophia rose alexis kayla charlotte abigail jane lori
amelia alma edith florence harriet josephine penelope priscilla rosalind sylvia ursula wilhelmina johnson
williams jones garcia miller davis martinez wilson moore jackson thompson white harris sanchez ramirez lewis
robinson walker young king wright hill flores adams nelson baker hall rivera campbell mitchell carter roberts
gomez phillips evans turner diaz parker cruz edwards collins reyes morris morales murphy cooper richardson
howard ward torres ramsey watson brooks chavez wood bennett mendoza ruiz hughes price alvarez castillo sanders
patel long ross foster jimenez powell jenkins perry sullivan bell coleman butler henderson barnes gonzales
simmons patterson jordan reynolds hamilton graham wallace west cole chapman sutton griffin dixon burke spencer
gardner hudson payne knight bishop carpenter harper lawson bradley elliott hicks crawford mason hunter kennedy
warren porter gordon shaw holmes rice robertson black daniels palmer mills nichols grant stone ferguson hawkins
dunn perkins wheeler holloway goldstein rosenberg feldman schneider zimmerman hartman koch krueger neumann bauer
lehmann vogel keller brandt lindgren nystrom sorensen nakamura tanaka watanabe yamamoto kobayashi suzuki rossi
bianchi romano ferrari esposito moreau dubois laurent lefebvre fournier girard kowalski novak petrov ivanov
sokolov haddad rahman hussain mehta gupta sharma banerjee oconnor mcdonald mcgregor mackenzie fitzgerald
gallagher donovan brennan callahan maguire pritchard llewellyn ackerman aldrich ainsworth ashworth atkinson
babcock bancroft barlow bartlett beaumont bellamy blackwell bradford bradshaw bramwell brewster bridges bromley
buchanan buckley burgess cartwright chamberlain chandler chester christensen churchill clayton clifford clifton
colbert cornell cromwell crosby cunningham dalton davenport dawson delaney dickinson drummond eastwood ellsworth
emerson everett fairbanks fairfax farnsworth fielding fitzpatrick fleming fletcher forsyth franklin garfield
gibbons gilbert gladstone goddard goodwin granger greenwood gresham hathaway haywood hemingway hendricks hobbs
holbrook hopkins huxley ingram irving jefferson kingsley kirkpatrick lambert langley lattimer leighton lennox
lincoln lockwood lombard longfellow lowell maddox marlowe marshall maxwell merritt middleton monroe montgomery
mortimer newton norwood oakley ogden osborne pemberton prescott quincy radcliffe randall raymond redmond
reinhardt remington ridley rockwell roosevelt rutherford salisbury sawyer seymour sheffield sheridan sinclair
stafford stanford stanley sterling stratton summers sumner talbot thornton townsend trevelyan truman underwood
vance vaughan wadsworth wakefield walton webster wellington whitaker whitfield whitman wilcox winslow winthrop
woodward wyatt yates york
""".split()
