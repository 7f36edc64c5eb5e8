module axiomhive.io/testcluster/hostile

go 1.26.0
