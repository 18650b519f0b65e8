// Asks whether what is shown was saved anew, and shows it; everything else works without this script.
(async () => {
  const watched = document.getElementById("watched");
  const address = watched && watched.dataset.changed;
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  while (address) {
    try {
      const answer = await fetch(address, { cache: "no-store", redirect: "error" });
      if (answer.ok && (await answer.json()).changed) {
        location.reload();
        return;
      }
      if (!answer.ok) await pause(5000);
    } catch {
      await pause(2000);
    }
  }
})();
