/**
 * What can be said of a DiceBear avatar. Colours are drawn from palettes of our own, one set of names for all styles, so
 * a colour word is true by construction. A variant has a word if a look at it (sheet.mjs) shows what the word says.
 */

// Several hex values a word: the word is a region of colour, not one value.
export const HAIR = {
  black: ['0e0e0e', '1f1b1b'], 'dark brown': ['3d2314', '4a2c1a'], brown: ['7a4a2b', '85542f'], blonde: ['e8c65a', 'f2d67e'],
  ginger: ['d56c0c', 'cb6820'], red: ['c21f1f', 'ab1414'], pink: ['f25fa5', 'f58bbd'], purple: ['7a3fc0', '9152d6'],
  blue: ['2f6fe0', '1d5dff'], teal: ['1fa59a', '27b8b0'], green: ['3fac3f', '4cbf3a'], gray: ['8f9296', '9da1a6'], white: ['f4f4f4', 'ececec'],
};
export const SKIN = {
  pale: ['ffe3d3', 'fbd9c6'], light: ['f2c9a0', 'edb98a'], tan: ['d39c66', 'c98f5a'], brown: ['a5673f', '9a5c36'], dark: ['63381f', '57301a'],
};
export const CLOTH = {
  red: ['d92b2b', 'e24553'], orange: ['f28a2e', 'f59a3c'], yellow: ['f7d038', 'fadf5c'], green: ['3fae57', '58bd5f'],
  teal: ['1fa59a', '37b8ad'], blue: ['3a6fe0', '456dff'], purple: ['7a4fc9', '8c62d6'], pink: ['f27cae', 'f55d81'],
  white: ['f8f8f8', 'f0f0f0'], black: ['1d1d20', '2a2a2e'], gray: ['8f9399', 'a0a4aa'],
};
export const BACK = {
  'pale blue': ['b6e3f4', 'c3e6f5'], lavender: ['c0aede', 'cdbdea'], pink: ['ffc7d4', 'ffb8cb'], peach: ['ffdfbf', 'ffd8ae'],
  'mint green': ['c8ecd3', 'b5e6c5'], yellow: ['ffe58a', 'ffeda6'], 'light gray': ['dfe3e8', 'd3d8de'], white: ['ffffff'],
  coral: ['ff9c8a', 'ff8f7d'], 'dark blue': ['2b3a67', '31426f'], teal: ['6cc5bc', '5cbab0'],
};

const nums = (prefix, ...list) => list.map((n) => prefix + String(n).padStart(2, '0'));
const v = (...list) => nums('variant', ...list);
/** rows of [word, variants] -> variant => word */
const table = (...rows) => {
  const words = Object.fromEntries(rows.flatMap(([word, keys]) => keys.map((k) => [k, word])));
  return (variant) => words[variant];
};
/** rows of [start of the variant's name, word] -> variant => word */
const prefix = (...rows) => (variant) => rows.find(([p]) => variant.startsWith(p))?.[1];
const either = (...ways) => (variant) => ways.map((way) => way(variant)).find(Boolean);
const any = (word) => () => word;
const lengths = prefix(['long', 'long'], ['short', 'short']);

// Heads of open-peeps whose hair takes a colour; the hair of the others is black.
export const COLOURED = ['bangs', 'grayBun', 'grayMedium', 'grayShort', 'mediumBangs2', 'mohawk', 'mohawk2', 'noHair3', 'short4'];
const PEEPS = table(
  ['bald', ['noHair1', 'noHair2']], ['balding', ['noHair3']], ['a turban', ['turban']], ['a hijab', ['hijab']], ['beanie', ['hatBeanie']],
  ['hat', ['hatHip']], ['a bear head', ['bear']], ['bantu knots', ['bantuKnots']], ['two buns', ['buns']], ['bun', ['bun', 'bun2', 'grayBun']],
  ['afro', ['afro', 'longAfro']], ['long curly', ['longCurly']], ['long', ['long', 'longBangs', 'mediumStraight']],
  ['mohawk', ['mohawk', 'mohawk2']], ['flat-top', ['flatTop', 'flatTopLong']], ['cornrows', ['cornrows', 'cornrows2']],
  ['dreadlocked', ['dreads1', 'dreads2']], ['twisted', ['twists', 'twists2']], ['quiffed', ['pomp']], ['messy', ['shaved3']],
  ['with bangs', ['bangs', 'bangs2']], ['short', ['short1', 'short2', 'short3', 'short4', 'short5', 'grayShort', 'shaved1', 'shaved2']],
  ['medium-length', ['medium1', 'medium2', 'medium3', 'mediumBangs', 'mediumBangs3', 'grayMedium']], ['wavy', ['mediumBangs2']],
);

/**
 * colours: option -> [attribute, palette]. options: what else is passed to DiceBear. say: option -> [attribute, variant -> word].
 * after(words, drawn): corrects the words where one option changes what another means.
 */
export const STYLES = {
  adventurer: {
    colours: { hairColor: ['hairColor', HAIR], skinColor: ['skin', SKIN] },
    options: { glassesProbability: 25, featuresProbability: 20 },
    say: {
      hair: ['hair', either(
        table(
          ['flowers in', nums('long', 3, 8, 18)], ['bun', nums('long', 10, 11, 12)], ['two buns', nums('long', 13, 23)],
          ['ponytail', nums('long', 14, 19)], ['pigtails', ['long15']], ['braided', ['long16']],
          ['curly', [...nums('short', 3, 17, 18), 'long22']], ['buzzed', nums('short', 4, 19)], ['mohawk', ['short15']], ['spiky', ['short16']],
        ),
        lengths,
      )],
      glasses: ['glasses', either(table(['sunglasses', ['variant01']]), any('glasses'))],
      features: ['feature', table(['a mustache', ['mustache']], ['freckles', ['freckles']], ['rosy cheeks', ['blush']])],
      mouth: ['mouth', table(
        ['smiling', v(1, 5, 22, 23, 27, 28)], ['frowning', v(4)], ['tongue out', v(12, 16)], ['shouting', v(15, 25, 26)], ['kissing', v(17)],
      )],
    },
    after: (words) => words.hair === 'buzzed' && delete words.hairColor, // it shows the skin
  },
  bigEars: {
    colours: { hairColor: ['hairColor', HAIR], skinColor: ['skin', SKIN] },
    say: {
      hair: ['hair', either(
        table(
          ['two buns', ['long05']], ['bun', ['long06']], ['pigtails', ['long16']], ['ponytail', ['long17']], ['wavy', ['long11']],
          ['bob', nums('long', 1, 9, 10)], ['curly', ['long13', ...nums('short', 6, 7, 18)]], ['spiky', nums('short', 3, 4, 10, 12, 19)],
          ['flat-top', nums('short', 15, 17)], ['messy', ['short01']],
        ),
        (variant) => (variant === 'short09' ? undefined : lengths(variant)),
      )],
      mouth: ['mouth', table(
        ['smiling', ['variant0701', 'variant0702', 'variant0703']], ['smirking', ['variant0707', 'variant0708']],
        ['frowning', ['variant0704', 'variant0705']], ['kissing', ['variant0706']], ['laughing', ['variant0204', 'variant0304']],
        ['surprised', ['variant0104']], ['shouting', ['variant0404', 'variant0504']],
      )],
    },
  },
  bigSmile: {
    colours: { hairColor: ['hairColor', HAIR], skinColor: ['skin', SKIN] },
    say: {
      hair: ['hair', table(
        ['buzzed', ['shavedHead']], ['with bangs', ['bangs']], ['long straight', ['straightHair']], ['wavy', ['wavyBob']], ['braided', ['braids']],
        ['bun', ['bunHair']], ['bowl-cut', ['bowlCutHair']], ['mohawk', ['mohawk']], ['short', ['shortHair']], ['half-shaved', ['halfShavedHead']],
        ['short curly', ['curlyShortHair']], ['curly', ['curlyBob']], ['two buns', ['froBun']],
      )],
      mouth: ['mouth', table(
        ['braces', ['braces']], ['awkward smile', ['awkwardSmile']], ['little smile', ['kawaii']], ['toothy smile', ['teethSmile']],
        ['unimpressed', ['unimpressed']], ['gap-toothed smile', ['gapSmile']], ['sad', ['openSad']], ['smiling', ['openedSmile']],
      )],
      eyes: ['eyes', table(
        ['sleepy', ['sleepy']], ['starry eyes', ['starstruck']], ['cheery', ['cheery']], ['sad eyes', ['sad']], ['confused', ['confused']],
        ['angry', ['angry']], ['winking', ['winking']],
      )],
      accessories: ['accessory', table(
        ['a tiara', ['sailormoonCrown']], ['a face mask', ['faceMask']], ['sunglasses', ['sunglasses']], ['a mustache', ['mustache']],
        ['a sleep mask', ['sleepMask']], ['a clown nose', ['clownNose']], ['glasses', ['glasses']], ['cat ears', ['catEars']],
      )],
    },
    after: (words) => {
      if (words.accessory === 'a face mask') delete words.mouth;
      if (/sunglasses|sleep mask/.test(words.accessory ?? '')) delete words.eyes;
    },
  },
  croodles: {
    // Lines of hair in white or blonde do not show on a light background.
    colours: { topColor: ['hairColor', Object.fromEntries(Object.entries(HAIR).filter(([k]) => k !== 'white' && k !== 'blonde'))] },
    options: { beardProbability: 20, mustacheProbability: 20 },
    say: {
      top: ['hair', table(
        ['spiky', v(2)], ['curly', v(5, 10, 11, 18)], ['long', v(12, 13, 14, 17)], ['ponytail', v(15)], ['pigtails', v(16)], ['bald', v(28)],
        ['hat', v(20, 23)], ['beanie', v(21)], ['graduation cap', v(22)], ['beret', v(24)], ['cap', v(25)], ['balding', v(27)],
        ['short', v(1, 3, 6, 7, 8, 9, 29)],
      )],
      eyes: ['eyes', table(
        ['sunglasses', v(9)], ['an eyepatch', v(10)], ['glasses', v(13, 15)], ['round glasses', v(14)], ['heart eyes', v(7)], ['closed eyes', v(3, 5, 8)],
      )],
      mouth: ['mouth', table(['smiling', v(7, 15, 16)], ['laughing', v(10, 17)], ['fangs', v(13)], ['frowning', v(18)])],
      beard: ['beard', table(['a beard', v(1)], ['a goatee', v(2, 5)], ['stubble', v(3)], ['a long beard', v(4)])],
      mustache: ['mustache', any('a mustache')],
    },
    after: (words, drawn) => {
      // What is coloured is on the head, hair or hat; of some hats only the outline is.
      if (!HEADWEAR.includes(words.hair)) return;
      if (v(22, 23, 24).includes(drawn.top)) words.hatColor = words.hairColor;
    },
  },
  dylan: {
    colours: { hairColor: ['hairColor', HAIR], skinColor: ['skin', SKIN] },
    options: { facialHairProbability: 25 },
    say: {
      hair: ['hair', table(
        ['two buns', ['buns']], ['bob', ['roundBob']], ['wavy', ['wavy']], ['fluffy', ['fluffy']], ['short curly', ['shortCurls']],
        ['with bangs', ['bangs']], ['parted', ['parting']], ['short', ['plain']], ['flat-top', ['flatTop']], ['shaggy', ['shaggy']],
        ['spiky', ['spiky']], ['long curly', ['longCurls']],
      )],
      mood: ['mouth', table(
        ['confused', ['confused']], ['sad', ['sad']], ['hopeful', ['hopeful']], ['angry', ['angry']], ['very happy', ['superHappy']],
        ['happy', ['happy']], ['neutral', ['neutral']],
      )],
      facialHair: ['beard', any('stubble')],
    },
  },
  funEmoji: {
    colours: {},
    say: {
      mouth: ['mouth', table(
        ['sick', ['sick']], ['angry mouth', ['pissed']], ['laughing', ['smileLol']], ['shouting', ['shout']], ['a face mask', ['faceMask']],
        ['straight mouth', ['plain']], ['drooling', ['drip']], ['cute smile', ['cute']], ['little smile', ['lilSmile']],
        ['toothy smile', ['smileTeeth']], ['blowing a kiss', ['kissHeart']], ['big smile', ['wideSmile']], ['tongue out', ['tongueOut']],
        ['shy smile', ['shy']], ['sad', ['sad']],
      )],
      eyes: ['eyes', table(
        ['closed eyes', ['closed', 'closed2']], ['sleeping', ['sleepClose']], ['starry eyes', ['stars']], ['angry', ['pissed']],
        ['crying', ['crying']], ['heart eyes', ['love']], ['sunglasses', ['shades']], ['winking', ['wink', 'wink2']], ['sad eyes', ['sad']],
        ['glasses', ['glasses']], ['cute eyes', ['cute']], ['a tear', ['tearDrop']], ['plain eyes', ['plain']],
      )],
    },
  },
  lorelei: {
    colours: { hairColor: ['hairColor', HAIR], skinColor: ['skin', { ...SKIN, white: ['ffffff'] }] },
    options: { glassesProbability: 25, earringsProbability: 0, frecklesProbability: 10, beardProbability: 10, hairAccessoriesProbability: 8 },
    say: {
      hair: ['hair', table(
        ['curly', v(5, 9, 22, 39)], ['long curly', v(24)], ['long', v(13, 15, 16, 21, 23, 40, 41)], ['long wavy', v(35)], ['bob', v(10, 17, 19)],
        ['bun', v(14, 38, 45, 46)], ['two buns', v(26)], ['spiky', v(27)], ['balding', v(25)], ['bald', v(34)], ['ponytail', v(31, 33, 36)],
        ['pigtails', v(30)], ['messy', v(4, 18, 20)], ['short', v(1, 2, 3, 6, 7, 8, 11, 12, 28, 43, 44, 47)],
      )],
      mouth: ['mouth', prefix(['happy', 'happy'], ['sad', 'sad'])],
      glasses: ['glasses', either(table(['sunglasses', v(2)]), any('glasses'))],
      freckles: ['feature', any('freckles')],
      beard: ['beard', any('a beard')],
      hairAccessories: ['accessory', any('flowers')],
    },
  },
  micah: {
    colours: {
      hairColor: ['hairColor', HAIR], baseColor: ['skin', SKIN], shirtColor: ['clothColor', CLOTH], glassesColor: [undefined, { black: ['000000'] }],
    },
    options: { facialHairProbability: 20 },
    say: {
      hair: ['hair', table(
        ['quiffed', ['fonze']], ['mohawk', ['mrT']], ['sparse', ['dougFunny']], ['bald', ['mrClean']], ['mullet', ['dannyPhantom']],
        ['long', ['full']], ['a turban', ['turban']], ['bob', ['pixie']],
      )],
      mouth: ['mouth', table(
        ['kissing', ['pucker']], ['smiling', ['smile']], ['surprised', ['surprised']], ['laughing', ['laughing']], ['frowning', ['frown']],
        ['nervous', ['nervous']], ['smirking', ['smirk']], ['sad', ['sad']],
      )],
      glasses: ['glasses', (variant) => `${variant} glasses`],
      earrings: ['earrings', (variant) => `${variant} earrings`],
      facialHair: ['beard', table(['stubble', ['scruff']], ['a beard', ['beard']])],
      shirt: ['clothes', table(['open shirt', ['open']], ['collared shirt', ['collared']], ['crew-neck shirt', ['crew']])],
    },
    after: (words) => {
      if (words.hair === 'a turban') words.hatColor = words.hairColor;
      if (words.hair === 'sparse') delete words.hairColor; // three thin lines
      if (words.hair === 'long' || words.hair === 'bob') delete words.earrings;
    },
  },
  miniavs: {
    colours: { hairColor: ['hairColor', HAIR], skinColor: ['skin', SKIN], bodyColor: ['clothColor', CLOTH] },
    options: { mustacheProbability: 25, glassesProbability: 25 },
    say: {
      hair: ['hair', table(
        ['balding', ['balndess', 'slaughter']], ['swept', ['stylish']], ['long', ['long']], ['ponytail', ['ponyTail']], ['quiffed', ['elvis']],
        ['curly', ['curly']], ['short', ['classic01', 'classic02']],
      )],
      glasses: ['glasses', any('round glasses')],
      mustache: ['mustache', table(
        ['a horseshoe mustache', ['horshoe']], ['a thin mustache', ['pencilThin']], ['a thin beard', ['pencilThinBeard']], ['a mustache', ['freddy']],
      )],
      blushes: ['feature', any('rosy cheeks')],
      body: ['clothes', table(['turtleneck', ['golf']], ['t-shirt', ['tShirt']])],
      mouth: ['mouth', table(['a missing tooth', ['missingTooth']])],
    },
  },
  notionists: {
    colours: {},
    options: { glassesProbability: 25, beardProbability: 15, gestureProbability: 20 },
    say: {
      hair: ['hair', table(
        ['cap', ['hat']], ['long', v(8, 23, 28, 36, 37, 41, 46, 58)], ['bob', v(2, 10, 43)], ['curly', v(9, 20, 22, 33)], ['bun', v(29, 48, 57)],
        ['ponytail', v(39, 45, 47)], ['two buns', v(40, 59)], ['spiky', v(50, 51)], ['a hijab', v(62, 63)], ['a turban', v(61)], ['buzzed', v(60)],
        ['short', v(1, 3, 5, 6, 7, 13, 15, 16, 18, 19, 21, 24, 25, 26, 27, 31, 34, 35, 38, 44, 49, 52, 54, 55, 56)],
      )],
      glasses: ['glasses', either(table(['glasses', v(3, 8, 11)]), any('sunglasses'))],
      beard: ['beard', table(['a beard', v(1, 2)], ['a goatee', v(8, 12)], ['a mustache', v(3, 6, 7, 9, 10)])],
      gesture: ['gesture', prefix(
        ['wavePoint', 'pointing'], ['waveOk', 'an ok sign'], ['wave', 'waving'], ['handPhone', 'holding a phone'], ['ok', 'an ok sign'], ['point', 'pointing'],
      )],
    },
  },
  openPeeps: {
    colours: { headContrastColor: ['hairColor', HAIR], skinColor: ['skin', SKIN], clothingColor: ['clothColor', CLOTH] },
    options: { facialHairProbability: 20, maskProbability: 8, accessoriesProbability: 30 },
    say: {
      head: ['hair', PEEPS],
      face: ['mouth', table(
        ['laughing', ['smileLOL']], ['monster face', ['monster']], ['angry', ['angryWithFang', 'veryAngry']], ['gap-toothed smile', ['smileTeethGap']],
        ['furious', ['rage']], ['worried', ['concerned', 'concernedFear']], ['solemn', ['solemn']], ['tired', ['tired']], ['scared', ['fear']],
        ['eating', ['eatingHappy']], ['cute', ['cute']], ['blank face', ['blank']], ['big smile', ['smileBig']],
        ['grinning', ['lovingGrin1', 'lovingGrin2']], ['serious', ['serious']], ['smiling', ['smile']], ['cheeky', ['cheeky']],
        ['one eye', ['cyclops']], ['suspicious', ['suspicious']], ['old', ['old']], ['closed eyes', ['eyesClosed']], ['amazed', ['awe']], ['calm', ['calm']],
      )],
      facialHair: ['beard', prefix(['moustache', 'a mustache'], ['full', 'a full beard'], ['goatee', 'a goatee'], ['chin', 'a chin beard'])],
      mask: ['accessory', table(['a face mask', ['medicalMask']], ['a respirator', ['respirator']])],
      accessories: ['glasses', prefix(['glasses', 'glasses'], ['sunglasses', 'sunglasses'], ['eyepatch', 'an eyepatch'])],
    },
    after: (words, drawn) => {
      if (drawn.head === 'hatHip') words.hatColor = 'black';
      if (drawn.head === 'turban' || drawn.head === 'hatBeanie') words.hatColor = words.clothColor;
      if (!COLOURED.includes(drawn.head)) words.hairColor = 'black';
      if (/cornrows/.test(drawn.head)) delete words.hairColor; // some strands of it are coloured
      if (words.accessory) {
        delete words.mouth;
        delete words.beard;
      }
      if (words.glasses && /eye/.test(words.mouth ?? '')) delete words.mouth;
    },
  },
  personas: {
    // The face lightens the skin's colour, so its word would not be that of other styles.
    colours: { hairColor: ['hairColor', HAIR], skinColor: [undefined, SKIN], clothingColor: ['clothColor', CLOTH] },
    options: { facialHairProbability: 25 },
    say: {
      hair: ['hair', table(
        ['long', ['extraLong', 'long']], ['curly high-top', ['curlyHighTop']], ['bun', ['straightBun', 'bunUndercut']], ['curly bun', ['curlyBun']],
        ['cap', ['cap']], ['beanie', ['beanie']], ['curly', ['curly']], ['fade', ['fade']], ['side-shaved', ['sideShave']], ['bob', ['bobBangs', 'bobCut']],
        ['balding', ['balding']], ['bald', ['bald']], ['short', ['shortComboverChops', 'shortCombover']], ['pigtails', ['pigtails']], ['buzzed', ['buzzcut']],
      )],
      eyes: ['eyes', table(
        ['sunglasses', ['sunglasses']], ['glasses', ['glasses']], ['winking', ['wink']], ['happy eyes', ['happy']], ['closed eyes', ['sleep']],
      )],
      mouth: ['mouth', table(
        ['big smile', ['bigSmile']], ['frowning', ['frown']], ['a pacifier', ['pacifier']], ['surprised', ['surprise']], ['smiling', ['smile']],
        ['smirking', ['smirk']], ['full lips', ['lips']],
      )],
      facialHair: ['beard', table(
        ['a walrus mustache', ['walrus']], ['stubble', ['shadow']], ['a full beard', ['beardMustache']], ['a soul patch', ['soulPatch']],
        ['a pointed mustache', ['pyramid']], ['a goatee', ['goatee']],
      )],
      body: ['clothes', table(['checkered shirt', ['checkered']])],
    },
    after: (words) => {
      if (words.hair === 'cap') words.hatColor = 'orange';
      if (words.hair === 'beanie') words.hatColor = 'red';
      if (words.hair === 'buzzed') delete words.hairColor; // it shows the skin
      if (words.mouth === 'a pacifier') delete words.beard;
      else if (words.beard === 'a full beard') delete words.mouth;
    },
  },
  pixelArt: {
    colours: {
      hairColor: ['hairColor', HAIR], skinColor: ['skin', SKIN], clothingColor: ['clothColor', CLOTH], hatColor: ['hatColor', CLOTH],
    },
    options: { glassesProbability: 25, hatProbability: 12, beardProbability: 12 },
    say: {
      hair: ['hair', table(
        ['long', nums('long', 1, 2, 3, 7, 8, 9, 12, 13, 17, 20)], ['messy', ['long15', 'short11', 'short13']], ['balding', nums('short', 7, 18, 23)],
        ['short', nums('short', 1, 2, 3, 4, 6, 8, 9, 10, 14, 15, 16, 17, 19, 22, 24)],
      )],
      hat: ['hat', any('hat')],
      beard: ['beard', table(['a beard', v(1, 3, 5, 6, 7, 8)])],
      glasses: ['glasses', prefix(['dark', 'sunglasses'], ['light', 'glasses'])],
      mouth: ['mouth', table(['smiling', nums('happy', 6, 7, 8, 9, 10, 11)], ['frowning', nums('sad', 1, 3, 9)])],
    },
    after: (words) => {
      if (words.hat) for (const hidden of ['hair', 'hairColor']) delete words[hidden];
      else delete words.hatColor;
    },
  },
  thumbs: {
    colours: { shapeColor: ['bodyColor', CLOTH] },
    say: {
      eyes: ['eyes', prefix(
        ['variant1', 'heart eyes'], ['variant2', 'closed eyes'], ['variant3', 'squinting'], ['variant4', 'happy eyes'], ['variant7', 'winking'], ['variant9', 'winking'],
      )],
      mouth: ['mouth', table(['laughing', ['variant2']], ['smiling', ['variant1', 'variant3', 'variant4']], ['kissing', ['variant5']])],
    },
  },
};

/** What sits on the head instead of hair, or covers all of it. */
export const HEADWEAR = ['a turban', 'a hijab', 'cap', 'beanie', 'hat', 'beret', 'graduation cap', 'a bear head'];
