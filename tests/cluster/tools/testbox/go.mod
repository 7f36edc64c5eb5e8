module axiomhive.io/testcluster/testbox

go 1.26.0
