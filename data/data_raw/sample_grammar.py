"""Words and sentence frames of the built-in sample task; make_sample_data.py turns them into sentence pairs.

How to read them:
- `{person1}` is a slot: a type (a key of NAMES or NOUNS, or a number of make_sample_data.py) and, if needed, a digit.
- `[bought|purchased]` is a choice of words with the same meaning; an empty one, `[|old ]`, may be left out.
- FRAMES: `# topic` starts a frame; `swap person` says that exchanging {person1} and {person2} changes the meaning,
  `plain` that it takes neither date nor circumstances. The lines that follow say one and the same thing in different
  words; `--` starts lines that mean something else, with nearly the same words. Every line of a group uses the same
  slots.
- SIDES: ` | ` separates wordings of one meaning, ` // ` separates meanings.
"""

FIRST_NAMES = (
    'Maria James Anna Peter Laura Victor Helen Samuel Nadia Oscar Ruth Daniel Irene Felix Carol Martin Sofia '
    'Henry Elena Thomas Grace Louis Julia Walter Amina Paul Clara Hugo Diana Simon Teresa Oliver Nina Arthur '
    'Leila Edward Monica Julian Rosa Gerald Ingrid Marcus Alice Ramon Yvonne Philip Donna Anton'
).split()
LAST_NAMES = (
    'Keller Moreno Lindqvist Harper Osei Novak Bennett Castillo Draper Fischer Gallagher Hoffman Ibarra Jensen '
    'Kowalski Larsen Mercer Nolan Okafor Petrov Quinn Romero Schultz Tanaka Ulrich Vargas Whitman Yates Zimmer '
    'Abbott Barlow Chandra Delgado Ellison Farrell Goodwin Haddad Ivers Jamison Kaplan Lombardi Mahoney Nakamura '
    'Ortega Prescott Reyes Sandoval Thornton Underwood Vance Weaver Ashford Brandt Corbett Dawson Eriksen '
    'Fontaine Grady Holloway Iverson Jacobs Kemper Lowell Maddox Nash Ogden Palmer Rourke Stanton Tobin Vogel '
    'Winters'
).split()
COMPANY_HEADS = (
    'Harlow Brightwater Corvane Delmont Eastgate Fairmont Granger Hillcrest Ironwood Juniper Kestrel Lakeland '
    'Marlowe Northfield Oakhurst Pinnacle Quartz Redfern Silverton Tamarack Unity Vantage Westbrook Yellowstone '
    'Zenith Alder Beacon Crestline Dunmore Ellsworth Foxglove Glenview Halberd Ivory Kingsley Linden'
).split()
COMPANY_TAILS = (
    'Foods Energy Motors Industries Systems Holdings Brands Partners Electric Chemicals Group Labs'
).split()
MASCOTS = (
    'Eagles Bears Comets Falcons Giants Hawks Kings Lions Mustangs Pirates Rangers Sharks Tigers Wolves Badgers '
    'Bulls Cougars Miners Sailors Foxes'
).split()

NAMES = {   # proper names
    'city': (
        'Dayton Lisbon Tucson Oslo Memphis Geneva Boise Lyon Tulsa Krakow Omaha Porto Fresno Turin Toledo '
        'Leeds Tampa Seville Albany Bergen Denver Naples Mobile Ghent Austin Riga Salem Malmo Reno Bristol '
        'Lincoln Hanover'
    ).split(),
    'country': (
        'Brazil Norway Kenya Chile Poland Turkey Peru Ghana Vietnam Canada Mexico Egypt Sweden Thailand '
        'Portugal Morocco Colombia Japan Hungary Jordan Ecuador Finland Uganda Greece'
    ).split(),
    'river': 'Ohio Danube Mersey Tagus Hudson Oder Platte Rhone Wabash Loire Severn Elbe Yukon Tiber'.split(),
    'uni': 'Duke Uppsala Cornell Leiden Stanford Bologna Rutgers Kyoto Emory Tartu'.split(),
    'title': [
        'The Long Harbor', 'Winter Bread', 'A House of Salt', 'Red Orchard', 'The Last Ferry', 'Paper Moons',
        'Night Garden', 'The Glass Road', 'Northern Lights', 'A Quiet Season', 'Copper Hill', 'Seven Bridges',
    ],
    'drug': 'Velorin Traxomab Cardiplex Nuvadol Sertavin Osteral Pulmara Glycenta'.split(),
}

NOUNS = {   # common nouns; | separates words for the same thing
    'asset': [
        'a paper mill|a paper factory', 'a chain of hotels|a hotel chain',
        'a copper mine|a mine that produces copper', 'a cargo port|a port for cargo ships',
        'a fleet of trucks|a truck fleet', 'a radio station|a radio broadcaster',
        'a wind farm|a group of wind turbines', 'a dairy business|a milk business',
        'an office tower|a high-rise office building', 'a coffee brand|a brand of coffee',
    ],
    'product': [
        'its electric van|its battery-powered van', 'its main phone|its flagship phone',
        'its tablet computer|its tablet', 'its baby food|its food for babies',
        'its running shoe|its shoe for runners', 'its garden tractor', 'its game console|its console',
        'its kitchen robot', 'its solar panel', 'its hearing aid',
    ],
    'crop': [
        'wheat', 'coffee', 'rice', 'cotton', 'sugar', 'corn|maize', 'soybeans|soya', 'olive oil', 'tea',
        'timber|wood',
    ],
    'disease': [
        'measles', 'influenza|the flu', 'cholera', 'malaria', 'asthma', 'diabetes', 'pneumonia|a lung infection',
        'hepatitis', 'food poisoning', 'tuberculosis',
    ],
    'crime': [
        'tax fraud|cheating on taxes', 'arson|setting fires', 'smuggling weapons|arms smuggling',
        'bribing officials|bribery', 'forging passports|passport forgery', 'a bank robbery|robbing a bank',
        'insurance fraud|cheating an insurer', 'stealing cars|car theft',
    ],
    'bill': [
        'water rights bill|bill on water rights', 'pension bill|bill on pensions', 'housing bill|bill on housing',
        'gun control bill|bill on gun control', 'school funding bill|bill on funding for schools',
        'immigration bill|bill on immigration', 'gambling bill|bill on gambling', 'fishing bill|bill on fishing',
    ],
    'project': [
        'a new airport', 'a second bridge', 'a sports arena|an arena for sports', 'a waste plant',
        'a tram line|a streetcar line', 'a prison|a jail', 'a nuclear plant|a nuclear power station', 'a dam',
    ],
    'good': [
        'tobacco|cigarettes', 'gasoline|petrol', 'beer', 'sugary drinks|drinks with sugar',
        'airline tickets|plane tickets', 'diesel fuel|diesel', 'imported cars|cars from abroad', 'natural gas',
    ],
    'animal': ['frogs', 'bats', 'orchids', 'beetles', 'spiders', 'lizards', 'snails', 'butterflies'],
    'herd': ['eagle', 'beaver', 'seal', 'crane', 'falcon', 'otter', 'badger', 'turtle'],
    'group': [
        'women', 'men', 'smokers', 'city dwellers|people in cities', 'farmers', 'older people|the elderly',
        'teenagers|teens', 'office workers|people with desk jobs', 'night workers|people who work at night',
        'athletes',
    ],
    'prize': ['Whitfield Prize', 'Calder Award', 'Merriam Medal', 'Sorrel Prize', 'Lantern Award'],
    'art': [
        'a bronze horse|a horse made of bronze', 'a portrait of a sailor',
        'a medieval map|a map from the Middle Ages', 'a marble lion|a lion carved from marble', 'a rare violin',
        'a landscape in oils|an oil painting of a landscape',
    ],
    'subject': ['mathematics|math', 'physics', 'history', 'chemistry', 'French', 'geography', 'economics', 'music'],
    'cur': ['dollar', 'euro', 'yen', 'pound', 'franc', 'peso', 'krona', 'rupee'],
    'injury': [
        'a knee injury|an injured knee', 'a broken wrist|a wrist fracture', 'a back problem|back trouble',
        'a torn muscle|a muscle tear', 'a sprained ankle|an ankle sprain',
    ],
    'tech': [
        'battery technology', 'chip design|design for chips', 'speech software|software for speech',
        'water filter|filter for water', 'payment system|system for payments',
    ],
    'post': [
        'finance minister|minister of finance', 'health minister|minister of health',
        'transport minister|minister of transport', 'justice minister|minister of justice',
    ],
}

FRAMES = '''
# business, swap company
{company1} [bought|acquired|purchased] {asset} from {company2} for {money}
{company2} sold {asset} to {company1} for {money}
{company1} paid {company2} {money} for {asset}
{asset} was sold by {company2} to {company1} at a price of {money}
# business, swap company
{company1} took over {company2} in a deal [worth|valued at] {money}
{company2} was [taken over|swallowed up] by {company1} in a deal [worth|valued at] {money}
{company1} [spent|paid] {money} to [take over|buy all of] {company2}
the takeover of {company2} by {company1} was valued at {money}
# business
{company} [cut|eliminated|shed] {count} jobs at its [plant|factory] in {city}
{count} [workers|employees] lost their jobs at the {company} plant in {city}
{company} [laid off|dismissed] {count} [workers|employees] at its {city} [plant|factory]
--
{company} [created|added] {count} jobs at its [plant|factory] in {city}
{company} [hired|took on|recruited] {count} [workers|employees] at its {city} [plant|factory]
{count} [workers|employees] [were hired|found jobs] at the {company} plant in {city}
--
{company} dropped a plan to cut {count} jobs at its [plant|factory] in {city}
{company} decided not to lay off {count} [workers|employees] at its {city} [plant|factory]
{count} [workers|employees] were told they would keep their jobs at the {company} plant in {city}
# business, plain
quarterly profit at {company} [rose|climbed|increased] by {rate} to {money}
{company} [posted|reported] [a rise|an increase|a gain] of {rate} in quarterly profit to {money}
{company} earned {money} in the quarter, {rate} more than a year earlier
--
quarterly profit at {company} [fell|dropped|decreased] by {rate} to {money}
{company} [posted|reported] a [fall|drop|decline] of {rate} in quarterly profit to {money}
{company} earned {money} in the quarter, {rate} less than a year earlier
# business
{company} [raised|increased] the price of {product} by {rate}
{company} made {product} {rate} more expensive
customers of {company} had to pay {rate} more for {product}
--
{company} [lowered|cut|reduced] the price of {product} by {rate}
{company} made {product} {rate} cheaper
customers of {company} could pay {rate} less for {product}
# business, swap company
{company1} [sued|took legal action against] {company2} over {product}, [asking for|demanding] {money} in damages
{company2} was [sued|taken to court] by {company1} over {product} for {money} in damages
{company1} filed a lawsuit against {company2} that seeks {money} in damages over {product}
# business, swap company
{company1} [lent|advanced] {money} to {company2} to pay for {asset}
{company2} borrowed {money} from {company1} to pay for {asset}
{company2} used a loan of {money} from {company1} to [pay for|finance] {asset}
# business
{company} opened {count} [shops|stores] in {country}
{count} [shops|stores] [owned by|belonging to] {company} opened [their doors |]in {country}
the number of {company} stores in {country} grew by {count}
--
{company} [closed|shut] {count} [shops|stores] in {country}
{count} [shops|stores] [owned by|belonging to] {company} [closed|shut] [their doors |]in {country}
the number of {company} stores in {country} shrank by {count}
# business, swap person
{person1} [succeeded|replaced] {person2} as [chief executive|CEO] of {company}
{person2} was [succeeded|replaced] by {person1} as [chief executive|CEO] of {company}
{person1} took over from {person2} as [head|chief executive] of {company}
{person2} handed the top job at {company} to {person1}
# business, plain
{company} [delayed|postponed|put off] the launch of {product} by {wait}
{company} [launched|released] {product} {wait} [later than planned|behind schedule]
{product} was [launched|released] by {company} {wait} later than [planned|expected]
--
{company} brought forward the launch of {product} by {wait}
{company} [launched|released] {product} {wait} [earlier than planned|ahead of schedule]
{product} was [launched|released] by {company} {wait} earlier than [planned|expected]
# politics, swap person
{person1} [defeated|beat] {person2} in the race for mayor of {city} by {margin} votes
{person2} lost the race for mayor of {city} to {person1} by {margin} votes
{person1} was elected mayor of {city}, {margin} votes ahead of {person2}
{person2} finished {margin} votes behind {person1} in the contest for mayor of {city}
# politics
parliament [approved|passed|adopted] the {bill} by a margin of {margin} votes
lawmakers voted for the {bill} by {margin} votes
the {bill} was [passed|approved] by lawmakers with a majority of {margin} votes
--
parliament [rejected|voted down|threw out] the {bill} by a margin of {margin} votes
lawmakers voted against the {bill} by {margin} votes
the {bill} was [rejected|defeated] by lawmakers with a majority of {margin} votes
# politics, swap person
{person1} accused {person2} of [misusing|wasting] {money} of [public money|public funds]
{person2} was accused by {person1} of [misusing|wasting] {money} of [public money|taxpayers' money]
{person1} [claimed|charged] that {person2} had [misused|wasted] {money} of [public money|public funds]
# politics
the government [raised|increased] the tax on {good} by {rate}
the tax on {good} [went up|rose] by {rate}
{good} became subject to a tax that was {rate} higher
--
the government [lowered|cut|reduced] the tax on {good} by {rate}
the tax on {good} [went down|fell] by {rate}
{good} became subject to a tax that was {rate} lower
# politics, swap country
{country1} [recalled|called back] its ambassador from {country2}
the ambassador of {country1} to {country2} was [called home|recalled]
{country1} [told|ordered] its envoy in {country2} to [return|come home]
# politics, swap country
{country1} [gave|donated] {money} in [food aid|emergency aid] to {country2}
{country2} [received|got] {money} in [aid|assistance] from {country1}
{country1} [provided|supplied] {country2} with aid [worth|of] {money}
# politics, swap country
{country1} sold {tons} [tons|metric tons] of {crop} to {country2}
{country2} bought {tons} [tons|metric tons] of {crop} from {country1}
{tons} tons of {crop} were [shipped|exported] from {country1} to {country2}
{country2} imported {tons} tons of {crop} from {country1}
# politics
{person} [resigned|stepped down|quit] as {post} after {term} in office
{person} gave up the [job|post] of {post} after {term}
after {term} as {post}, {person} [left the government|resigned]
--
{person} refused to [resign|step down|quit] as {post} after {term} in office
{person} clung to the [job|post] of {post} after {term}
after {term} as {post}, {person} [stayed in the government|rejected calls to resign]
# politics, swap person
{person1} [endorsed|backed] {person2} for governor
{person2} won the [endorsement|backing] of {person1} in the race for governor
{person1} [urged|called on] voters to make {person2} governor
# politics
{pct} of [voters|residents] in {city} [supported|were in favor of] {project} in a [survey|poll]
a [survey|poll] in {city} found that {pct} of [people|residents] [supported|wanted] {project}
{project} was [backed|welcomed] by {pct} of [people|residents] [polled|surveyed] in {city}
--
{pct} of [voters|residents] in {city} [opposed|were against] {project} in a [survey|poll]
a [survey|poll] in {city} found that {pct} of [people|residents] [opposed|did not want] {project}
{project} was rejected by {pct} of [people|residents] [polled|surveyed] in {city}
# courts
a jury [convicted {person} of|found {person} guilty of] {crime} in a case involving {money}
{person} was [convicted of|found guilty of] {crime} by a jury in a case worth {money}
jurors in a case involving {money} decided that {person} was guilty of {crime}
--
a jury [acquitted {person} of|found {person} not guilty of|cleared {person} of] {crime} in a case involving {money}
{person} was [acquitted of|cleared of|found not guilty of] {crime} by a jury in a case worth {money}
jurors in a case involving {money} decided that {person} was innocent of {crime}
# courts
a judge [sentenced {person} to {term} in prison|sent {person} to prison for {term}] for {crime}
{person} [received|was given] a prison [term|sentence] of {term} for {crime}
for {crime}, {person} was [jailed for|ordered to spend] {term} [behind bars|in prison]
--
a judge freed {person} after {term} in prison for {crime}
{person} was released [at the end of|after] a prison [term|sentence] of {term} for {crime}
after spending {term} [behind bars|in prison] for {crime}, {person} was [freed|set free]
# courts, swap person
{person1} [testified|gave evidence] against {person2} in a [trial|case] over {crime}
{person2} heard {person1} testify for the prosecution in a [trial|case] over {crime}
in a [trial|case] over {crime}, {person2} faced [testimony|evidence] from {person1}
# courts
police [arrested|detained] {count} [people|suspects] in {city} over {crime}
{count} [people|suspects] were [taken into custody|arrested] in {city} on charges of {crime}
officers in {city} took {count} [people|suspects] into custody over {crime}
--
police [released|freed] {count} [people|suspects] in {city} who had been held over {crime}
{count} [people|suspects] held on charges of {crime} were [let go|released] in {city}
officers in {city} let {count} [people|suspects] held over {crime} go free
# courts, swap person
a car driven by {person1} [struck|hit] a [truck|lorry] driven by {person2} near {city}
a [truck|lorry] driven by {person2} was [struck|hit] by a car driven by {person1} near {city}
near {city}, {person1} drove a car into the [truck|lorry] of {person2}
# courts
an appeals court [upheld|confirmed] [an award|a judgment] of {money} against {company}
{company} lost its appeal against a [judgment|fine] of {money}
judges refused to [overturn|set aside] [an award|a judgment] of {money} against {company}
--
an appeals court [overturned|threw out] [an award|a judgment] of {money} against {company}
{company} won its appeal against a [judgment|fine] of {money}
judges agreed to [overturn|set aside] [an award|a judgment] of {money} against {company}
# sports, swap team
{team1} [beat|defeated] {team2} {score}
{team2} lost {score} to {team1}
{team1} [won {score} against|earned a {score} victory over] {team2}
{team2} were [beaten|defeated] {score} by {team1}
# sports, swap team
{team1} traded {person} to {team2} for [two draft picks|a pair of draft picks]
{team2} [acquired|got] {person} from {team1} for [two draft picks|a pair of draft picks]
{person} [moved|was sent] from {team1} to {team2} [in exchange|in a trade] for [two|2] draft picks
# sports
{person} [signed|agreed to] a contract of {term} with {team} for {money}
{team} [signed {person}|secured the services of {person}] for {term} at a cost of {money}
{person} [committed|pledged] to play {term} for {team} for {money}
--
{person} [rejected|turned down] a contract of {term} with {team} for {money}
{team} failed to sign {person} for {term} at a cost of {money}
{person} [refused|declined] to play {term} for {team} for {money}
# sports
{person} scored {count} points [to lead {team} to victory|in a win for {team}]
{team} won thanks to {count} points from {person}
with {count} points from {person}, {team} [came out on top|won]
--
{person} scored {count} points [but could not save {team} from defeat|in a loss for {team}]
{team} lost despite {count} points from {person}
even with {count} points from {person}, {team} [came up short|lost]
# sports, swap person
{person1} [finished|came in] ahead of {person2} in the {city} marathon
{person2} [finished|came in] behind {person1} in the {city} marathon
{person1} [outran|was faster than] {person2} in the marathon in {city}
in the {city} marathon, {person2} was [beaten|outrun] by {person1}
# sports
{person} [was ruled out|was expected to be out] for {wait} with {injury}
{injury} [sidelined {person}|kept {person} out] for {wait}
{person} was unable to play for {wait} because of {injury}
--
{person} [returned to training|was back in training] after {wait} out with {injury}
{person} recovered from {injury} that had lasted {wait}
{person} [trained again|went back to training] once {injury} of {wait} had healed
# sports
{team} [fired|dismissed|sacked] coach {person} after {term}
coach {person} was [fired|let go] by {team} after {term}
after {term}, {team} [parted with|got rid of] coach {person}
--
{team} [kept|retained|stood by] coach {person} after {term}
coach {person} was [kept|given a new deal] by {team} after {term}
after {term}, {team} [extended the contract of|held on to] coach {person}
# health
patients who took {drug} had {rate} fewer [strokes|heart attacks] than [those on a placebo|untreated patients]
{drug} [lowered|reduced|cut] the risk of [stroke|a heart attack] by {rate} in a [trial|study]
in a [trial|study], {drug} made heart trouble {rate} less [likely|common]
--
patients who took {drug} had {rate} more [strokes|heart attacks] than [those on a placebo|untreated patients]
{drug} [raised|increased] the risk of [stroke|a heart attack] by {rate} in a [trial|study]
in a [trial|study], {drug} made heart trouble {rate} more [likely|common]
# health
{count} people in {city} [fell ill|became sick] with {disease}
{disease} [struck|sickened] {count} people in {city}
{count} [cases|new cases] of {disease} were [recorded|reported] in {city}
--
{count} people in {city} recovered from {disease}
{disease} was [cured|overcome] in {count} people in {city}
{count} [patients|people] with {disease} were [cured|healthy again] in {city}
# health, swap group, plain
{group1} were more likely than {group2} to [develop|suffer from] {disease} in a study of {people} [people|patients]
{group2} were less likely than {group1} to [develop|suffer from] {disease} in a study of {people} [people|patients]
in a study of {people} people, {disease} was more common among {group1} than among {group2}
{disease} was rarer among {group2} than among {group1} in a study of {people} [people|patients]
# health
[regulators|health officials] [approved|cleared] {drug} for [patients|people] with {disease}
{drug} won approval as a [treatment|therapy] for {disease}
doctors were allowed to [prescribe {drug} for|use {drug} against] {disease}
--
[regulators|health officials] [banned|rejected] {drug} for [patients|people] with {disease}
{drug} was refused approval as a [treatment|therapy] for {disease}
doctors were not allowed to [prescribe {drug} for|use {drug} against] {disease}
# health
researchers at {uni} [discovered|found] {count} new species of {animal} in {country}
{count} [previously unknown|new] species of {animal} were [discovered|found] in {country} by a team from {uni}
a team from {uni} [identified|described] {count} species of {animal} in {country} that were new to science
--
researchers at {uni} found that {count} species of {animal} had [vanished from|died out in] {country}
{count} species of {animal} [disappeared|were lost] from {country} in a count by a team from {uni}
a team from {uni} listed {count} species of {animal} in {country} as [extinct|gone]
# weather
the storm [destroyed|flattened] {count} homes and [cut power to {people}|left {people} without power] in {city}
{people} people lost power and {count} [homes|houses] were [destroyed|wrecked] when the storm hit {city}
in {city}, the storm [cut power to|left in the dark] {people} people and [destroyed|leveled] {count} [homes|houses]
--
crews rebuilt {count} homes and restored power to {people} people in {city} after the storm
{people} people got power back and {count} [homes|houses] were rebuilt after the storm hit {city}
in {city}, [workers|crews] returned power to {people} people hit by the storm and rebuilt {count} [homes|houses]
# weather
the water level of the {river} rose by {wide} near {city}
the {river} was {wide} higher near {city} than a week [earlier|before]
near {city}, the {river} [climbed|rose] by {wide}
--
the water level of the {river} fell by {wide} near {city}
the {river} was {wide} lower near {city} than a week [earlier|before]
near {city}, the {river} [dropped|fell] by {wide}
# weather
a fire [burned|destroyed] {acres} acres near {city} and forced {people} people to [leave their homes|flee]
{people} people had to [leave their homes|flee] near {city} as a fire [burned|consumed] {acres} acres
near {city}, [flames|a blaze] covering {acres} acres drove {people} people from their homes
--
a fire that burned {acres} acres near {city} was put out and {people} people went [home|back to their homes]
{people} people could [return home|go home] near {city} as a fire over {acres} acres was [contained|put out]
near {city}, the end of a blaze covering {acres} acres let {people} people return to their homes
# weather
an earthquake [killed|claimed the lives of] {count} people in {country} and damaged {margin} [buildings|houses]
{count} people [died|were killed] and {margin} [buildings|houses] were damaged in an earthquake in {country}
in {country}, {margin} buildings were damaged and {count} people [lost their lives|died] in an earthquake
--
an earthquake [injured|hurt] {count} people in {country} and damaged {margin} [buildings|houses]
{count} people were [hurt|injured] and {margin} [buildings|houses] were damaged in an earthquake in {country}
in {country}, {margin} buildings were damaged and {count} people [were hurt|suffered injuries] in an earthquake
# transport
{company} [added|introduced|started] {count} [weekly flights|flights a week] between {city1} and {city2}
{count} [weekly flights|flights a week] between {city1} and {city2} were [launched|added] by {company}
{company} began to fly {count} times a week between {city1} and {city2}
--
{company} [dropped|ended|canceled] {count} [weekly flights|flights a week] between {city1} and {city2}
{count} [weekly flights|flights a week] between {city1} and {city2} were [scrapped|canceled] by {company}
{company} stopped flying {count} times a week between {city1} and {city2}
# transport, swap city
the [train|express] from {city1} to {city2} [arrived|came in] {mins} late
passengers who went by [train|rail] from {city1} to {city2} arrived {mins} late
[people on the train|rail passengers] to {city2} from {city1} reached it {mins} [behind schedule|later than planned]
--
the [train|express] from {city1} to {city2} [arrived|came in] {mins} early
passengers who went by [train|rail] from {city1} to {city2} arrived {mins} early
[people on the train|rail passengers] to {city2} from {city1} reached it {mins} [ahead of schedule|sooner than planned]
# transport
{count} passengers [died|drowned|lost their lives] when a ferry sank off the coast of {country}
the sinking of a ferry off {country} [killed|claimed the lives of] {count} passengers
a ferry sank [off the coast of|near] {country}, killing {count} [people on board|passengers]
--
{count} passengers [survived|were rescued] when a ferry sank off the coast of {country}
the sinking of a ferry off {country} was survived by {count} passengers
a ferry sank [off the coast of|near] {country}, but {count} [people on board|passengers] were saved
# transport
the bridge [over|across] the {river} in {city} [reopened|opened again] after {wait} of repairs
traffic [returned to|could use] the {city} bridge over the {river} again after {wait} of repairs
after repairs that [took|lasted] {wait}, drivers in {city} could again cross the {river} bridge
--
the bridge [over|across] the {river} in {city} was [closed|shut] for {wait} of repairs
traffic was [kept off|banned from] the {city} bridge over the {river} for {wait} of repairs
for repairs that would [take|last] {wait}, drivers in {city} were barred from the {river} bridge
# culture
{person} won the {prize} for [the novel|the book] {title}
the {prize} [went|was awarded] to {person} for {title}
{person} [took|received] the {prize} for writing {title}
--
{person} [missed out on|failed to win] the {prize} for [the novel|the book] {title}
the {prize} was denied to {person} for {title}
{person} did not [get|receive] the {prize} for writing {title}
# culture, swap person, plain
{person1} directed the [film|movie] {title}, which was written by {person2}
{person2} wrote the [script|screenplay] for {title}, which {person1} directed
{title} was [directed|filmed] by {person1} from a [script|screenplay] by {person2}
# culture
[the museum in {city}|the {city} museum] [bought|acquired] {art} for {money}
{money} was [paid|spent] by [the museum in {city}|the {city} museum] for {art}
{art} [went|was sold] to [the museum in {city}|the {city} museum] for {money}
--
[the museum in {city}|the {city} museum] sold {art} for {money}
{money} was [received|raised] by [the museum in {city}|the {city} museum] from the sale of {art}
{art} was sold by [the museum in {city}|the {city} museum] for {money}
# culture, plain
the [film|movie] {title} [earned|took in|made] {money} in its first [weekend|three days]
ticket sales for {title} [reached|came to] {money} in its first [weekend|three days]
[moviegoers|audiences] spent {money} on {title} in its first [weekend|three days]
--
the [film|movie] {title} [lost|was short of its costs by] {money}
the [studio|producers] behind {title} lost {money} on it
losses on the [film|movie] {title} [reached|came to] {money}
# culture, swap person, plain
{person1} [painted|made] a portrait of {person2} that [sold for|brought] {money}
a portrait of {person2} by {person1} [sold for|brought] {money}
{person2} was the [sitter for|subject of] a portrait by {person1} that fetched {money}
# education
{uni} University [raised|increased] [tuition|tuition fees] by {rate}
[students at {uni} University|{uni} University students] had to pay {rate} more in tuition
the cost of studying at {uni} University [rose|went up] by {rate}
--
{uni} University [lowered|cut|reduced] [tuition|tuition fees] by {rate}
[students at {uni} University|{uni} University students] could pay {rate} less in tuition
the cost of studying at {uni} University [fell|went down] by {rate}
# education
{pct} of [pupils|students] in {city} passed the {subject} [exam|test]
the {subject} [exam|test] was passed by {pct} of [pupils|students] in {city}
in {city}, {pct} of [pupils|students] were successful in the {subject} [exam|test]
--
{pct} of [pupils|students] in {city} failed the {subject} [exam|test]
the {subject} [exam|test] was failed by {pct} of [pupils|students] in {city}
in {city}, {pct} of [pupils|students] were unsuccessful in the {subject} [exam|test]
# education, swap person, plain
{person1} taught {subject} to {person2} at {uni} University
{person2} [studied|learned] {subject} under {person1} at {uni} University
at {uni} University, {person2} was a {subject} student of {person1}
{person1} was the {subject} teacher of {person2} at {uni} University
# economy
unemployment in {country} [rose|climbed|increased] to {rate}, the highest [level|figure] in {term}
the [jobless rate|unemployment rate] of {country} went up to {rate}, the highest [level|value] in {term}
the share of people without work in {country} grew to {rate}, more than at any time in {term}
--
unemployment in {country} [fell|dropped|decreased] to {rate}, the lowest [level|figure] in {term}
the [jobless rate|unemployment rate] of {country} went down to {rate}, the lowest [level|value] in {term}
the share of people without work in {country} shrank to {rate}, less than at any time in {term}
# economy, swap cur
the {cur1} [gained|rose|climbed] {rate} against the {cur2}
the {cur2} [lost|fell|dropped] {rate} against the {cur1}
the {cur1} strengthened by {rate} against the {cur2}
the {cur2} weakened by {rate} against the {cur1}
# economy
the central bank of {country} [raised|increased] [interest rates|its main interest rate] to {rate}
[borrowing|credit] in {country} became more expensive as the central bank moved [rates|its main rate] to {rate}
a rate increase by the central bank took [interest rates|borrowing costs] in {country} to {rate}
--
the central bank of {country} [lowered|cut|reduced] [interest rates|its main interest rate] to {rate}
[borrowing|credit] in {country} became cheaper as the central bank moved [rates|its main rate] to {rate}
a rate cut by the central bank took [interest rates|borrowing costs] in {country} to {rate}
# economy, swap country
{country1} overtook {country2} as the [largest|biggest] [producer|grower] of {crop}
{country2} was overtaken by {country1} as the [largest|biggest] [producer|grower] of {crop}
{country2} lost its place as the leading [producer|grower] of {crop} to {country1}
{country1} moved past {country2} in the production of {crop}
# economy
workers at {company} [went on strike|walked off the job|walked out] after {wait} of [pay talks|talks about wages]
a strike [began|started] at {company} after {wait} of [pay talks|talks about wages]
after {wait} of [pay talks|talks about wages], employees of {company} [stopped working|put down their tools]
--
workers at {company} [ended a strike|went back to work] after {wait} of [pay talks|talks about wages]
a strike [ended|was over] at {company} after {wait} of [pay talks|talks about wages]
after {wait} of [pay talks|talks about wages], employees of {company} returned to [work|their jobs]
# economy, plain
the {crop} harvest in {country} [shrank|fell] by {pct} [because of|as a result of] the weather
[growers|farmers] in {country} harvested less {crop} than the year before, with a drop of {pct} blamed on the weather
the weather [cut|reduced] the {crop} harvest in {country} by {pct}
--
the {crop} harvest in {country} [grew|rose] by {pct} [because of|as a result of] the weather
[growers|farmers] in {country} harvested more {crop} than the year before, with a gain of {pct} credited to the weather
the weather [raised|lifted] the {crop} harvest in {country} by {pct}
# environment
{company} was [fined|ordered to pay] {money} for [polluting|dumping waste into] the {river}
a [fine|penalty] of {money} was [imposed on|given to] {company} for pollution of the {river}
for [polluting|fouling] the {river}, {company} had to pay {money}
--
{company} [gave|donated] {money} [to clean up|for the protection of] the {river}
a [gift|donation] of {money} was made by {company} for the clean-up of the {river}
to help clean the {river}, {company} volunteered {money}
# environment, plain
the {herd} population of {country} [doubled|grew twofold] [in|over] {term}
the number of {herd}s in {country} became twice as large [in|within] {term}
it took {term} for the {herd} population of {country} to [double|grow twice as large]
--
the {herd} population of {country} [was cut in half|halved] [in|over] {term}
the number of {herd}s in {country} became half as large [in|within] {term}
it took {term} for the {herd} population of {country} to [halve|shrink by half]
# defense, swap country
{count} soldiers from {country1} [crossed into|entered] {country2}
{country1} [sent|moved] {count} [soldiers|troops] into {country2}
{count} [soldiers|troops] left {country1} and [entered|marched into] {country2}
# defense, swap country
{country1} [sold|agreed to sell] {count} [fighter jets|warplanes] to {country2} for {money}
{country2} [bought|agreed to buy] {count} [fighter jets|warplanes] from {country1} for {money}
{country2} ordered {count} [fighter jets|warplanes] worth {money} from {country1}
# community, swap person
{person1} [rescued|saved] {person2} from the {river} near {city}
{person2} was [pulled|rescued|saved] from the {river} near {city} by {person1}
near {city}, {person2} owed a rescue from the {river} to {person1}
# community, swap person
{person1} inherited {money} from {person2}
{person2} left {money} to {person1} in a will
{person1} was left {money} in the will of {person2}
# community, swap person, plain
{person1} rented [a house|a home] in {city} from {person2} for {term}
{person2} rented [a house|a home] in {city} to {person1} for {term}
{person2} was the landlord of {person1} in {city} for {term}
for {term}, {person1} was a tenant of {person2} in {city}
# community
[all|every one] of the {count} [miners|workers] trapped near {city} were [found alive|rescued]
none of the {count} [miners|workers] trapped near {city} [died|lost their lives]
the {count} trapped [miners|workers] near {city} were all [brought out alive|saved]
--
only some of the {count} [miners|workers] trapped near {city} were [found alive|rescued]
not all of the {count} [miners|workers] trapped near {city} survived
some of the {count} trapped [miners|workers] near {city} [died|could not be saved]
# technology
{company} [fixed|repaired] a [flaw|bug|fault] in {product} that [affected|hit] {people} [users|customers]
a [flaw|bug|fault] in {product} that [affected|hit] {people} [users|customers] was [fixed|corrected] by {company}
for {people} [users|customers], {company} solved a problem with {product}
--
{company} [ignored|did not fix] a [flaw|bug|fault] in {product} that [affected|hit] {people} [users|customers]
a [flaw|bug|fault] in {product} that [affected|hit] {people} [users|customers] was left unfixed by {company}
for {people} [users|customers], {company} left a problem with {product} unsolved
# technology
hackers [stole|took] the [data|records] of {people} customers of {company}
the [data|records] of {people} customers were stolen from {company} by hackers
{company} [lost|saw the theft of] the [data|records] of {people} customers in a hacker attack
--
hackers failed to steal the [data|records] of {people} customers of {company}
the [data|records] of {people} customers were kept safe from hackers by {company}
{company} [protected|saved] the [data|records] of {people} customers in a hacker attack
# technology, swap company
{company1} licensed its {tech} to {company2} for {term}
{company2} [won|obtained] the right to use the {tech} of {company1} for {term}
for {term}, {company2} was allowed by {company1} to use its {tech}
'''

SOURCES = {   # who says it; | separates words for the same source
    'business': [
        'the company|the firm', 'analysts|market analysts',
        'a person close to the deal|a person familiar with the matter',
    ],
    'politics': ['officials|government officials', 'local media|local news media', 'a spokesman|a spokesperson'],
    'courts': ['police|the police', 'prosecutors|state prosecutors', 'court papers|court documents'],
    'sports': ['the league|league officials', 'team officials|club officials', 'an agent'],
    'health': ['doctors|physicians', 'scientists|researchers', 'health officials|the health ministry'],
    'weather': ['rescue workers|rescuers', 'local officials|local authorities', 'the weather service'],
    'transport': ['transport officials|the transport authority', 'witnesses|eyewitnesses', 'the operator'],
    'culture': ['organizers|the organizers', 'trade papers|the trade press', 'critics'],
    'education': ['the education ministry|the ministry of education', 'teachers', 'a university official'],
    'economy': ['economists', 'the statistics office|the statistics bureau', 'a government report|a state report'],
    'environment': ['environmental groups|green groups', 'the environment agency', 'biologists'],
    'defense': ['the defense ministry|the ministry of defense', 'diplomats', 'military officials|army officials'],
    'community': [
        'neighbors|people who live nearby', 'relatives|family members', 'the local paper|the local newspaper',
    ],
    'technology': ['the company|the firm', 'security experts|experts in security', 'industry sources'],
}

STANCES = (   # how the source says it: two meanings, each in wordings that go before the clause
    ('{source} said that', '{source} reported that', '{source} confirmed that', 'according to {source},'),
    ('{source} denied that', '{source} rejected reports that', '{source} said it was not true that'),
)
STANCE_TAILS = ('{source} said', 'according to {source}', '{source} reported')   # for the first meaning

SIDES = {   # adverbials about the circumstances, by topics
    'business politics courts sports health transport culture education economy environment technology': '''
to the surprise of many observers | surprising many // as most observers had expected | as had been widely expected
for the first time | as had never happened before // once again | as had happened before
''',
    'business politics education environment': '''
despite strong criticism | although many people criticized it // without any criticism | although nobody criticized it
in front of a large crowd of reporters | with many reporters watching // in private | out of public view
''',
    'weather transport community sports': '''
in spite of heavy rain | even though it rained hard // in spite of great heat | even though it was very hot
''',
    'weather community courts defense': '''
during the night | while most people were asleep // in the middle of the day | while most people were at work
without any warning | although no alarm had been raised // after several warnings | although the alarm had been raised
''',
    'business': '''
after months of talks | following months of negotiations // after a few days of talks | following days of negotiations
despite opposition from the union | although the union was against it // with support from the union | with union help
''',
    'politics defense': '''
after a long debate | following hours of discussion // after a short debate | following a brief discussion
under pressure from abroad | as other countries had asked // against foreign advice | although other countries objected
before the election | ahead of the election // after the election | once the election was over
''',
    'economy': '''
because oil was expensive | as a result of high oil prices // because oil was cheap | as a result of low oil prices
more quickly than forecast | faster than had been forecast // more slowly than forecast | slower than had been forecast
''',
    'sports': '''
early in the season | at the start of the season // late in the season | near the end of the season
''',
}

DETAILS = {   # small additions that matter little; annotators disagree whether a pair that differs in one still matches
    'business politics courts sports health weather transport culture education economy environment technology': '''
the second such case this year
with more details to follow
the latest in a string of similar events
''',
    'defense community courts weather health': '''
an event that drew wide attention
in what neighbors called a strange week
''',
    'business economy technology': '''
one of the larger moves of its kind
the talk of the industry for days
''',
    'politics environment education': '''
a matter discussed for weeks
with both sides claiming success
''',
    'courts community': '''
in a case that began last spring
with lawyers declining to comment
''',
    'sports culture': '''
with 20,000 people watching
the biggest news of the week
''',
    'weather transport defense': '''
with several roads closed
the first in the area for years
''',
}
