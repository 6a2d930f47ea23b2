"""Word lists that distinguish names from other capitalised words."""

__all__ = ["GIVEN_NAMES", "ORGANISATION_WORDS", "PARTICLES"]

PARTICLES = frozenset(
    "af al ap av ben bin d da dal de degli dei del della den der di dos du el ibn la le st ten ter van vom von y zu "
    "zum zur".split()
)
# Lower-case words in names of organisations.
ORGANISATION_WORDS = frozenset(
    "academy academia akademie association college consortium corporation corp école ecole forum foundation gmbh "
    "hochschule inc institut institute instituto istituto laboratories laboratory labs ltd politecnico polytechnic "
    "universidad universidade universitat università universität universitet universiteit university université".split()
)
# Common given names, in lower case, with accents as written. Missing names are recognised by their rarity.
GIVEN_NAMES = frozenset(
    """
    aaron abdul abigail abraham adam adrian adriana agnes agnieszka ahmad ahmed aidan aisha akira alain alan albert
    alberto alejandro aleksandr alessandro alessia alex alexander alexandra alexandre alexei alexis alfred ali alice
    alicia alina alison allen allison amanda amber amelia amina amir amit amy ana anand anastasia anders andre andrea
    andreas andrei andrew andrey andrzej andy angel angela angelo anil anita ann anna anne annette annie anthony
    antoine anton antonia antonio anya ariel arjun armin arnold arthur arun asha astrid audrey august aurora axel
    ayesha barbara barry bart beatrice beatriz ben benedict benjamin benoit bernard bernd bernhard beth betty bill
    birgit bjorn björn bob boris brad brandon brenda brent brian bridget bruce bruno bryan caitlin cameron camila
    camille carl carla carlo carlos carmen carol caroline carolyn casey catherine cecilia chad charles charlie
    charlotte chen chi chiara chloe chris christian christina christine christoph christophe christopher cindy claire
    clara claudia claudio colin connor corinna craig cristian cristina curtis cynthia daisy dale damien dan dana danai
    daniel daniela danielle danny danqi daria darren dave david dean deborah debra denis dennis derek diana diane
    diego dieter dietrich dimitri dina dirk dmitri dmitry dominik dominique don donald donna dora doris dorothy doug
    douglas duncan dylan ed eddie eduardo edward edwin eleanor elena eli elias elif elijah elisa elisabeth elise
    elizabeth ella ellen elsa emil emilia emilio emily emma emmanuel enrico enrique eric erica erich erik erika erin
    ernest ernst esther ethan eugene eva evan eve evelyn fabian fabio farid fatima federico felipe felix fernando
    filip fiona flora florence florian frances francesca francesco francisco franck francois frank franz françois fred
    frederic frederick frida friedrich fritz frédéric gabriel gabriela gagan gareth gary gavin geoffrey georg george
    gerald gerard gerhard gilbert gilles gina giorgio giovanni giulia giuseppe glenn gloria gordon grace graham greg
    gregory greta guido guillaume gunther gustav guy hanna hannah hans harald harold harry hasan hassan heather heidi
    heiko heinrich heinz helen helena helene helga helmut hendrik henri henrik henry herbert hermann hiroshi holger
    holly howard hubert hugh hugo ian ibrahim ignacio igor ilya imran ines ingrid irene irina iris isaac isabel
    isabella isabelle ivan jack jackson jacob jacqueline jacques jaime jakob jakub james jamie jan jana jane janet
    janice jared jasmine jason javier jay jean jeff jeffrey jelena jennifer jenny jens jeremy jerome jerry jesper
    jesse jessica jesus jiale jieyu jill jim jimmy joachim joan joanna joao joel johan johann johanna johannes john
    johnny jon jonas jonathan jordan jorg jorge jose josef joseph joshua josé juan judith judy julia julian juliana
    julie julien juliette julius jun justin jérôme jörg jürgen kai karen karin karl karolina kate katharina katherine
    kathleen kathryn kathy katie katja katrin kay keith kelly ken kenji kenneth kenta kerstin kevin khalid kim
    kimberly kirsten klaus kristen kristin kurt kyle lars laura lauren laurence laurent lea leah lee leila lena leo
    leon leonard leonardo leslie lev lewis liam lidia lili lillian lily linda lisa liu liz logan lorenzo lori louis
    louise luca lucas lucia lucy ludwig luis luisa lukas luke lydia lynn madison magdalena maja malcolm malik manfred
    manuel manuela marc marcel marco marcus marek margaret maria marie marina mario marion mark markus marta martha
    martin martina marvin mary massimo mateo mats matt matteo matthew matthias matthieu maurice max maximilian maya
    megan mehmet mei melanie melissa mercedes michael michal michel michele michelle miguel mihai mike mikhail milan
    milena miriam mohamed mohammad mohammed molly mona monica monika morgan moritz muhammad mustafa nadia nancy naomi
    natalia natalie natasha nathalie nathan neha neil nicholas nick nicola nicolas nicole niels nikhil nikita nikolai
    nils nina noah noam noor nora norbert norman odile olaf ole oleg olga oliver olivia olivier omar oscar oskar otto
    owen pablo pamela paolo pascal pat patricia patrick patrik paul paula paulo pavel pedro peggy per peter petra phil
    philip philipp philippe phillip pierre pieter piotr pradeep prakash priya quinn rachel rafael rahul rainer raj
    rajesh ralf ralph ramon randy raphael rashid raul ravi ray raymond rebecca regina reinhard renata renate rene rené
    ricardo richard rick rita rob robert roberto robin rodrigo roger roland rolf roman ron ronald rosa rosemary ross
    roy ruben rudolf rupert russell ruth ryan sabine sabrina sala sam samantha samir samuel sandeep sandra sandy
    sanjay santiago sara sarah sascha satoshi saul scott sean sebastian sergei sergey sergio seth shane shannon sharon
    shaun sheila shirley silvia simon simone sofia sonia sonja sophia sophie stacy stanley stefan stefano stella
    stephan stephanie stephen steve steven stuart sue sunil susan susanna susanne suzanne sven svetlana sylvia sylvie
    takashi tamara tania tanja tara tatiana taylor ted teresa terry theo theodor theodore theresa thierry thomas
    tiffany tim timo timothy tina tobias todd tom tomas tomasz tommy toni tony tracy travis tyler ulrich ulrike ursula
    uwe valentin valentina valerie vanessa vera veronica vicky victor victoria vijay vikram viktor vincent virginia
    vivian vladimir wade walter wanda wang warren wayne wei wendy werner wilhelm willem william wolfgang wout xavier
    xiao yan yang yann yannick yasmin yi ying yolanda yosef yuki yun yuri yusuf yves yvonne zach zachary zahra zhang
    zoe zoltan
    """.split()
)
